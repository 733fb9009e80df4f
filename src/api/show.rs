//! From rows to wire types.

use crate::view::View;
use domain::{
    SlugId, Token, UnixMs,
    sign_in::{Client, Session},
    size,
};
use service::{Issued, Service};
use uuid::Uuid;
use wire::{IdRef, NameRef, UserRef, oauth, time};

/// Stable ids of the only region, stack and generation.
const REGION: Uuid = Uuid::from_u128(0x5907_1ac2_4be5_4c28_8f3a_0b6c_0d1e_0001);
/// First part of the ids of stacks; the rest is made of the name.
const STACK: [u8; 4] = [0x59, 0x07, 0x1a, 0xc2];
const GENERATION: Uuid = Uuid::from_u128(0x5907_1ac2_4be5_4c28_8f3a_0b6c_0d1e_0003);

fn named(id: Uuid, name: &str) -> NameRef {
    NameRef { id, name: name.into() }
}

/// As [`stack_id`], for other things that are known by name.
pub fn stable_id(name: &str) -> Uuid {
    stack_id(name)
}

/// The only generation.
pub fn generation() -> NameRef {
    named(GENERATION, "cedar")
}

/// The same for the same name for ever, on every server.
fn stack_id(name: &str) -> Uuid {
    let mut bytes = [0u8; 16];
    bytes[..4].copy_from_slice(&STACK);
    for (place, byte) in name.bytes().enumerate() {
        bytes[4 + place % 12] = bytes[4 + place % 12].wrapping_mul(31).wrapping_add(byte);
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// A stack.
pub fn stack(name: &str) -> wire::Stack {
    let epoch = time(0);
    wire::Stack {
        id: stack_id(name),
        name: name.into(),
        default: name == domain::app::HOST_STACK,
        state: "public".into(),
        created_at: epoch.clone(),
        updated_at: epoch,
    }
}

/// An account.
pub fn account(account: &domain::Account) -> wire::Account {
    wire::Account {
        id: account.id.0,
        email: account.email.clone(),
        name: account.name.clone(),
        allow_tracking: false,
        beta: false,
        created_at: time(account.created_at.0),
        default_organization: None,
        default_team: None,
        delinquent_at: None,
        federated: false,
        identity_provider: None,
        last_login: account.last_login.map(|t| time(t.0)),
        sms_number: None,
        suspended_at: None,
        two_factor_authentication: account.two_factor,
        updated_at: time(account.updated_at.unwrap_or(account.created_at).0),
        verified: true,
    }
}

/// Seconds from now to the end of a token, begun ones whole; `None` for no end.
pub fn seconds_left(service: &Service, token: &Token) -> Option<u64> {
    token.expires_at.map(|end| end.since_ms(service.now()).div_ceil(1000))
}

/// An authorization; its tokens whole only when they were just made.
pub fn authorization(
    service: &Service,
    token: &Token,
    access: Option<&str>,
    refresh: Option<&str>,
) -> Result<oauth::Authorization, service::Error> {
    const HIDDEN: &str = "**********";
    let owner = service.account(token.account)?;
    let client = service.client_of(token)?;
    let hidden = format!("{}{HIDDEN}", token.prefix);
    Ok(oauth::Authorization {
        id: token.id,
        access_token: oauth::TokenRef {
            id: token.id,
            token: access.map_or(hidden, String::from),
            expires_in: seconds_left(service, token),
        },
        client: client.map(|client| oauth::ClientRef { id: client.id, name: client.name, redirect_uri: client.redirect_uri }),
        created_at: time(token.created_at.0),
        description: token.description.clone(),
        grant: None,
        refresh_token: token.refresh.as_ref().map(|(id, _)| oauth::TokenRef {
            id: *id,
            token: refresh.unwrap_or(HIDDEN).into(),
            expires_in: None,
        }),
        scope: token.scopes.iter().map(|scope| scope.as_str().into()).collect(),
        session: None,
        updated_at: time(token.updated_at.unwrap_or(token.created_at).0),
        user: oauth::Owner { id: owner.id.0, email: owner.email, full_name: owner.name },
        app: token.app.map(|id| service.app_by_id(id)).transpose()?.flatten().map(|(id, name)| named(id.0, &name)),
    })
}

/// The tokens of an authorization, as `POST /oauth/tokens` shows them.
pub fn oauth_token(service: &Service, token: &Token, new: Option<&Issued>) -> Result<serde_json::Value, service::Error> {
    let shown = authorization(service, token, new.map(|i| i.access.as_str()), new.map(|i| i.refresh.as_str()))?;
    Ok(serde_json::json!({
        "id": token.id,
        "access_token": shown.access_token,
        "authorization": { "id": token.id },
        "client": null,
        "created_at": shown.created_at,
        "grant": {},
        "refresh_token": shown.refresh_token,
        "session": { "id": null },
        "updated_at": shown.updated_at,
        "user": { "id": shown.user.id },
    }))
}

/// An OAuth client, for its owner.
pub fn client(service: &Service, client: &Client) -> Result<oauth::OauthClient, service::Error> {
    Ok(oauth::OauthClient {
        id: client.id,
        name: client.name.clone(),
        redirect_uri: client.redirect_uri.clone(),
        secret: service.client_secret(client)?,
        ignores_delinquent: None,
        created_at: time(client.created_at.0),
        updated_at: time(client.updated_at.0),
    })
}

/// A browser session.
pub fn session(session: &Session, now: UnixMs) -> oauth::Session {
    oauth::Session {
        id: session.id,
        description: session.description.clone(),
        expires_in: session.ends_at().since_ms(now) / 1000,
        created_at: time(session.created_at.0),
    }
}

/// An app.
pub fn app(view: &View, app: &domain::App) -> Result<wire::App, service::Error> {
    let stack = named(stack_id(&app.stack), &app.stack);
    let team = match app.team {
        Some(id) => view.team_by_id(id)?.map(|team| named(team.id.0, &team.name)),
        None => None,
    };
    Ok(wire::App {
        id: app.id.0,
        name: app.name.clone(),
        owner: match &team {
            // Clients know apps of teams by this address, which nobody gets mail at (`cli-contract.md` 2.2).
            Some(team) => UserRef { id: team.id, email: format!("{}@herokumanager.com", team.name) },
            None => view.user(app.owner)?,
        },
        region: named(REGION, "local"),
        stack: stack.clone(),
        build_stack: stack,
        generation: generation(),
        web_url: view.addresses().app_url(&app.name),
        git_url: view.base().git_url(&app.name),
        acm: app.acm_since.is_some(),
        archived_at: None,
        buildpack_provided_description: app.detected.clone(),
        create_status: "complete".into(),
        created_at: time(app.created_at.0),
        internal_routing: None,
        joined: None,
        locked: app.locked,
        maintenance: app.maintenance,
        organization: team.clone(),
        released_at: app.released_at.map(|t| time(t.0)),
        repo_size: app.repo_bytes,
        slug_size: app.slug_bytes,
        space: None,
        team,
        updated_at: time(app.updated_at.0),
    })
}

/// An app with whether the actor joined it.
pub fn joined_app(view: &View, ctx: &service::Ctx, app: &domain::App) -> Result<wire::App, service::Error> {
    Ok(wire::App { joined: Some(view.joined(ctx, app)?), ..self::app(view, app)? })
}

/// Those that are part of the program.
pub const BUILDPACKS: &[&str] = &["nodejs", "python", "static", "procfile"];

/// A buildpack by the name that the user gave.
pub fn buildpack(name: &str) -> wire::Buildpack {
    let short = name.strip_prefix("urn:buildpack:").unwrap_or(name);
    let embedded = BUILDPACKS.contains(&short.strip_prefix("heroku/").unwrap_or(short));
    if embedded {
        let short = short.strip_prefix("heroku/").unwrap_or(short);
        return wire::Buildpack { url: format!("urn:buildpack:heroku/{short}"), name: format!("heroku/{short}") };
    }
    wire::Buildpack { url: name.into(), name: name.into() }
}

/// A build.
pub fn build(view: &View, build: &domain::Build) -> Result<wire::Build, service::Error> {
    let packs = (!build.buildpacks.is_empty()).then(|| build.buildpacks.iter().map(|p| buildpack(p)).collect());
    Ok(wire::Build {
        id: build.id.0,
        app: IdRef { id: build.app.0 },
        buildpacks: packs,
        created_at: time(build.created_at.0),
        output_stream_url: view.base().url(&format!("/streams/builds/{}/{}", build.id, build.output_key)),
        release: build.release.map(|r| IdRef { id: r.0 }),
        slug: build.slug.map(|s| IdRef { id: s.0 }),
        source_blob: wire::SourceBlob {
            url: build.source.url.clone(),
            checksum: build.source.checksum.clone(),
            version: build.source.version.clone(),
            version_description: build.source.version_description.clone(),
        },
        stack: build.stack.clone(),
        status: build.status.as_str().into(),
        updated_at: time(build.updated_at.0),
        user: view.user(build.user)?,
        failure: build.failure.clone(),
    })
}

/// A slug.
pub fn slug(view: &View, slug: &domain::Slug) -> wire::Slug {
    wire::Slug {
        id: slug.id.0,
        blob: wire::Blob {
            method: "get".into(),
            url: view.base().url(&format!("/streams/slugs/{}/{}", slug.id, slug.blob_key)),
        },
        buildpack_provided_description: slug.detected.clone(),
        checksum: slug.checksum.clone(),
        commit: slug.commit.clone(),
        commit_description: slug.commit_description.clone(),
        created_at: time(slug.created_at.0),
        process_types: slug.process_types.clone(),
        size: slug.bytes,
        stack: named(stack_id(&slug.stack), &slug.stack),
        updated_at: time(slug.created_at.0),
    }
}

fn id_ref(slug: Option<SlugId>) -> Option<IdRef> {
    slug.map(|s| IdRef { id: s.0 })
}

/// A release.
pub fn release(view: &View, app: &domain::App, release: &domain::Release) -> Result<wire::Release, service::Error> {
    Ok(wire::Release {
        id: release.id.0,
        version: release.version,
        status: release.status.as_str().into(),
        description: release.description.clone(),
        addon_plan_names: vec![],
        app: named(app.id.0, &app.name),
        artifacts: vec![],
        created_at: time(release.created_at.0),
        current: app.current == Some(release.version),
        eligible_for_rollback: release.slug.is_some() && release.status == domain::ReleaseStatus::Succeeded,
        output_stream_url: release
            .output_key
            .as_ref()
            .map(|key| view.base().url(&format!("/streams/releases/{}/{key}", release.id))),
        slug: id_ref(release.slug),
        updated_at: time(release.updated_at.0),
        user: view.user(release.user)?,
    })
}

/// A formation entry.
pub fn formation(app: &domain::App, entry: &domain::Formation, command: &str) -> wire::Formation {
    let size = size::find_or_default(&entry.size);
    wire::Formation {
        id: entry.id,
        app: named(app.id.0, &app.name),
        command: command.into(),
        created_at: time(entry.created_at.0),
        dyno_size: named(Uuid::parse_str(size.id).unwrap_or_default(), size.name),
        quantity: entry.quantity,
        size: size.name.into(),
        ptype: entry.ptype.clone(),
        updated_at: time(entry.updated_at.0),
    }
}

/// A dyno. `release` is its release's id.
pub fn dyno(app: &domain::App, dyno: &domain::Dyno, release: Uuid) -> wire::Dyno {
    wire::Dyno {
        id: dyno.id.0,
        app: named(app.id.0, &app.name),
        attach_url: None,
        command: dyno.command.clone(),
        created_at: time(dyno.created_at.0),
        name: dyno.name(),
        release: wire::ReleaseRef { id: release, version: dyno.release },
        size: dyno.size.clone(),
        state: dyno.state.as_str().into(),
        ptype: dyno.ptype.clone(),
        updated_at: time(dyno.updated_at.0),
    }
}

/// A custom domain.
pub fn domain(service: &Service, app: &domain::App, shown: &service::ShownDomain) -> wire::Domain {
    let row = &shown.row;
    wire::Domain {
        id: row.id,
        app: named(app.id.0, &app.name),
        acm_status: shown.acm.as_ref().map(|(word, _)| (*word).into()),
        acm_status_reason: shown.acm.as_ref().and_then(|(_, reason)| reason.clone()),
        cname: Some(format!("{}.{}", app.name, service.addresses().domain)),
        created_at: time(row.created_at.0),
        hostname: row.hostname.clone(),
        kind: "custom".into(),
        sni_endpoint: shown.endpoint.as_ref().map(|endpoint| named(endpoint.id, &endpoint.name)),
        status: "none".into(),
        updated_at: time(shown.updated_at.0),
    }
}

/// The default domain of an app, which is no row.
pub fn default_domain(service: &Service, app: &domain::App) -> wire::Domain {
    wire::Domain {
        id: app.id.0,
        app: named(app.id.0, &app.name),
        acm_status: None,
        acm_status_reason: None,
        cname: None,
        created_at: time(app.created_at.0),
        hostname: format!("{}.{}", app.name, service.addresses().domain),
        kind: "heroku".into(),
        sni_endpoint: None,
        status: "succeeded".into(),
        updated_at: time(app.updated_at.0),
    }
}

/// A schedule; no resource of Heroku's, whose scheduler is an add-on with a page of its own.
pub fn schedule(row: &domain::Schedule) -> wire::Schedule {
    wire::Schedule {
        id: row.id.0,
        command: row.command.clone(),
        created_at: time(row.created_at.0),
        cron: row.cron.clone(),
        last_run_at: row.last_at.map(|at| time(at.0)),
        next_run_at: time(row.next_at.0),
        size: row.size.clone(),
    }
}

/// A feature of an app.
pub fn feature(service: &Service, app: &domain::App, feature: &domain::feature::Feature) -> wire::AppFeature {
    let since = app.features.get(feature.name);
    let addresses = service.addresses();
    wire::AppFeature {
        id: Uuid::parse_str(feature.id).unwrap_or_default(),
        name: feature.name.into(),
        created_at: time(app.created_at.0),
        description: feature.description.into(),
        display_name: feature.display_name.into(),
        doc_url: addresses.url(&addresses.domain),
        enabled: since.is_some(),
        feedback_email: format!("feedback@{}", addresses.domain),
        state: feature.state.into(),
        updated_at: time(since.unwrap_or(&app.created_at).0),
    }
}

/// A health check.
pub fn health_check(check: &domain::HealthCheck) -> wire::HealthCheck {
    wire::HealthCheck {
        path: check.path.clone(),
        successes: check.successes,
        timeout: check.timeout_s,
        interval: check.interval_s,
    }
}

/// The only region.
pub fn region() -> serde_json::Value {
    serde_json::json!({
        "id": REGION, "name": "local", "description": "This installation", "country": "Local", "locale": "Local",
        "private_capable": false, "provider": { "name": "tidemill", "region": "local" },
        "created_at": time(0), "updated_at": time(0),
    })
}

/// The only generation of the platform.
pub fn whole_generation() -> serde_json::Value {
    serde_json::json!({
        "id": GENERATION, "name": "cedar", "unsupported_features": [], "expanded_supported_features": [],
        "created_at": time(0), "updated_at": time(0),
    })
}

/// A size of dynos; nothing is charged for it.
pub fn size(size: &size::Size) -> serde_json::Value {
    let gigabytes = size.memory_bytes as f64 / f64::from(1 << 30); // exact up to 2^53
    serde_json::json!({
        "id": size.id, "name": size.name, "memory": gigabytes, "compute": size.cores, "architecture": std::env::consts::ARCH,
        "dedicated": false, "can_autoscale": false, "private_space_only": false, "cost": { "cents": 0, "unit": "month" },
        "dyno_units": size.cpu_share, "precise_dyno_units": f64::from(size.cpu_share),
        "infrastructure_tier": "production", "product_dyno_tier": size.name.split('-').next().unwrap_or_default().to_lowercase(),
        "generation": { "id": GENERATION, "name": "cedar" },
    })
}
