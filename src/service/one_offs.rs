//! One-off dynos: rows that the engine starts once.

use crate::{Action, Ctx, Error, Result, Service, auth::random_key, capacity, config::Config, find_app};
use domain::{
    App, AppId, Attach, Dyno, DynoId, DynoKind, DynoState, EventBody, Meeting,
    limits::{ONE_OFF_SECONDS_MAX, ONE_OFFS_MAX},
    names, size,
};
use std::collections::BTreeMap;
use store::{ReadRows, Sealer, Tx, tables};
use uuid::Uuid;

/// Process type of the release phase; never scaled.
pub const RELEASE: &str = "release";
/// Process type of a one-off dyno that names none.
const RUN: &str = "run";
const COMMAND_BYTES_MAX: usize = 32 << 10;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct NewDyno {
    /// For bash.
    pub command: String,
    /// Process type; `run` when none is given.
    pub ptype: Option<String>,
    /// Size name.
    pub size: Option<String>,
    /// On top of the config vars.
    pub env: BTreeMap<String, String>,
    /// The caller wants to talk to it.
    pub attach: Option<Attach>,
    /// It is ended after this time.
    pub time_to_live_s: Option<u64>,
}

fn env_context(dyno: DynoId) -> Vec<u8> {
    format!("dyno env {dyno}").into_bytes()
}

/// The environment that came with the call.
///
/// # Errors
/// When it does not open.
pub fn read_dyno_env(rows: &impl ReadRows, sealer: &Sealer, dyno: DynoId) -> Result<Config> {
    let chunks = rows.scan(&tables::DYNO_ENV, &dyno)?;
    if chunks.is_empty() {
        return Ok(Config::new());
    }
    let plain = sealer.open(&env_context(dyno), &chunks)?;
    serde_json::from_slice(&plain).map_err(|e| Error::internal(format!("environment of {dyno}: {e}")))
}

/// A row that the engine starts once. `app` says which release and who it belongs to.
fn row(tx: &Tx, ctx: &Ctx, app: AppId, release: u64, ptype: &str, command: &str) -> Result<Dyno> {
    let mut taken = Vec::new();
    for id in tx.scan(&tables::DYNO_BY_APP, &app)? {
        taken.extend(tx.get(&tables::DYNOS, &id)?.filter(|d| d.kind == DynoKind::OneOff));
    }
    // A release phase is bounded by there being one at a time.
    if ptype != RELEASE && taken.iter().filter(|d| d.ptype != RELEASE).count() >= ONE_OFFS_MAX {
        return Err(Error::limited(
            "one_offs",
            format!("{ONE_OFFS_MAX} one-off dynos of this app are running; stop some first."),
        ));
    }
    let id: DynoId = Uuid::new_v4().into();
    // Four digits, as people know them, spread by the id.
    let first = 1000 + u32::from(u16::from_le_bytes([id.as_bytes()[0], id.as_bytes()[1]])) % 9000;
    let num = (first..10_000).chain(1000..first).find(|n| !taken.iter().any(|d| d.num == *n)).unwrap_or(first);
    Ok(Dyno {
        id,
        app,
        kind: DynoKind::OneOff,
        ptype: ptype.into(),
        num,
        command: command.into(),
        release,
        generation: 0,
        size: size::DEFAULT_SIZE.into(),
        state: DynoState::Starting,
        port: None,
        address: None,
        user_slot: 0, // the engine gives one
        crashes: 0,
        restart: false,
        time_to_live_s: Some(ONE_OFF_SECONDS_MAX),
        attach: None,
        created_at: ctx.now,
        updated_at: ctx.now,
    })
}

fn put(tx: &mut Tx, ctx: &Ctx, dyno: &Dyno) -> Result<()> {
    tx.put(&tables::DYNOS, &dyno.id, dyno)?;
    tx.put(&tables::DYNO_BY_APP, &(dyno.app, dyno.id), &dyno.id)?;
    tx.event(ctx.now, Some(dyno.app), ctx.origin(), EventBody::DynoChanged { dyno: dyno.id })?;
    Ok(())
}

/// The dyno of a release phase, in the transaction that makes the release.
pub(crate) fn add_phase(tx: &mut Tx, ctx: &Ctx, app: &App, release: u64, command: &str) -> Result<()> {
    let mut dyno = row(tx, ctx, app.id, release, RELEASE, command)?;
    let entry = tx.get(&tables::FORMATION, &(app.id, RELEASE.to_string()))?;
    dyno.size = entry.map_or(dyno.size, |entry| entry.size);
    dyno.time_to_live_s = None; // the engine has a limit for these
    put(tx, ctx, &dyno)
}

/// The release that one-off dynos run.
fn release_to_run(tx: &Tx, app: &App) -> Result<u64> {
    let release = app.current.filter(|_| crate::config::current_slug(tx, app).is_ok_and(|slug| slug.is_some()));
    release.ok_or_else(|| Error::invalid("The app has no code to run yet; deploy first."))
}

/// Asks for a dyno of the current release, on behalf of the platform.
pub(crate) fn add(tx: &mut Tx, ctx: &Ctx, app: &App, ptype: &str, command: &str, size: &str) -> Result<()> {
    let release = release_to_run(tx, app)?;
    let mut dyno = row(tx, ctx, app.id, release, ptype, command)?;
    dyno.size = size.into();
    capacity::check(tx, ctx, app, size::find_or_default(size).memory_bytes)?;
    put(tx, ctx, &dyno)
}

impl Service {
    /// Asks for a one-off dyno of the current release.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `invalid_params` for an app without code or a request that makes no sense; `one_offs` when
    /// too many are running.
    pub async fn run_dyno(&self, ctx: &Ctx, app: &str, new: NewDyno) -> Result<Started> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        check(&new)?;
        let (ctx2, sealer, id) = (ctx.clone(), self.parts().sealer.clone(), app.id);
        let secret = new.attach.map(|_| random_key()).transpose()?;
        let (rendezvous, known) = (self.parts().rendezvous.clone(), secret.clone());
        let made = self
            .store()
            .commit(move |tx| {
                let app = find_app(tx, &id.to_string())?;
                let release = release_to_run(tx, &app)?;
                let command = expanded(&crate::formation::current_types(tx, &app)?, &new.command);
                let mut dyno = row(tx, &ctx2, id, release, new.ptype.as_deref().unwrap_or(RUN), &command)?;
                dyno.attach = new.attach;
                if let Some(wanted) = &new.size {
                    let found =
                        size::find(wanted).ok_or_else(|| Error::invalid(format!("There is no dyno size {wanted:?}.")))?;
                    dyno.size = found.name.into();
                }
                capacity::check(tx, &ctx2, &app, size::find_or_default(&dyno.size).memory_bytes)?;
                dyno.time_to_live_s = new.time_to_live_s.or(dyno.time_to_live_s);
                if !new.env.is_empty() {
                    let plain = serde_json::to_vec(&new.env).map_err(|e| Error::internal(e.to_string()))?;
                    for (index, chunk) in (0u32..).zip(sealer.seal(&env_context(dyno.id), &plain)?) {
                        tx.put(&tables::DYNO_ENV, &(dyno.id, index), &chunk)?;
                    }
                }
                put(tx, &ctx2, &dyno)?;
                // Before anybody sees the row: whoever starts it looks for its client.
                known.into_iter().for_each(|secret| rendezvous.arrange(secret, Meeting::Dyno(dyno.id)));
                Ok::<_, Error>((app, dyno))
            })
            .await;
        if let (Err(_), Some(secret)) = (&made, &secret) {
            self.parts().rendezvous.forget(secret);
        }
        let (app, dyno) = made?;
        self.log_action(id, ctx, &format!("Starting process with command `{}`", dyno.command));
        Ok(Started { app, dyno, secret })
    }

    /// Allows a client to run a further process in a dyno that is up; it starts when the client comes.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `invalid_params` for a request that makes no sense; `conflict` for a dyno that is not up.
    pub fn run_inside(
        &self,
        ctx: &Ctx,
        app: &str,
        dyno: &str,
        command: &str,
        env: BTreeMap<String, String>,
        attach: Attach,
    ) -> Result<Started> {
        let allowed = self.app_for(ctx, Action::WriteSecrets, app)?;
        check_command(command)?;
        check_env(&env)?;
        let (app, dyno) = self.dyno(ctx, app, dyno)?;
        if dyno.state != DynoState::Up {
            return Err(Error::conflict(format!("{} is {}, not up; try again when it is.", dyno.name(), dyno.state.as_str())));
        }
        let secret = random_key()?;
        let command = expanded(&crate::formation::current_types(self.store(), &allowed)?, command);
        self.log_action(app.id, ctx, &format!("Starting process in {} with command `{command}`", dyno.name()));
        self.parts().rendezvous.arrange(secret.clone(), Meeting::Inside { dyno: dyno.id, command, env, attach });
        Ok(Started { app, dyno, secret: Some(secret) })
    }
}

/// Text that bash can be given.
pub(crate) fn check_command(command: &str) -> Result<()> {
    if command.trim().is_empty() || command.contains('\0') || command.len() > COMMAND_BYTES_MAX {
        return Err(Error::invalid(format!("command must be text of 1 to {COMMAND_BYTES_MAX} bytes.")));
    }
    Ok(())
}

fn check(new: &NewDyno) -> Result<()> {
    check_command(&new.command)?;
    check_env(&new.env)?;
    if new.ptype.as_deref().is_some_and(|t| !names::is_process_type(t) || t == domain::plan::WEB || t == RELEASE) {
        return Err(Error::invalid("type must be a process type other than web and release."));
    }
    if new.time_to_live_s.is_some_and(|s| !(1..=ONE_OFF_SECONDS_MAX).contains(&s)) {
        return Err(Error::invalid(format!("time_to_live must be 1 to {ONE_OFF_SECONDS_MAX} seconds.")));
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in env {
        names::check_config_key(key).map_err(Error::invalid)?;
        if value.contains('\0') {
            return Err(Error::invalid(format!("Value of {key} has a NUL character.")));
        }
    }
    crate::config::check_size(env)
}

/// A process type as the first word stands for its command (`cli-contract.md` section 5).
fn expanded(types: &BTreeMap<String, String>, command: &str) -> String {
    let (first, rest) = command.split_once(' ').map_or((command, ""), |(first, rest)| (first, rest));
    match types.get(first) {
        Some(known) if rest.is_empty() => known.clone(),
        Some(known) => format!("{known} {rest}"),
        None => command.to_string(),
    }
}

/// A one-off dyno that was asked for.
pub struct Started {
    /// Its app.
    pub app: App,
    /// Its row.
    pub dyno: Dyno,
    /// Secret of its attach address, when it waits for a client. Shown once.
    pub secret: Option<String>,
}
