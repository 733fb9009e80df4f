//! The control socket: how root on this machine speaks to the running daemon. HTTP on a unix socket in the data directory,
//! which nobody else may enter; who connects is looked at all the same. What is done here, events say, root on the machine did.

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use domain::DynoState;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde::Deserialize;
use serde_json::{Value, json};
use service::{Ctx, Error, Kind, Service};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// A call takes longer only when something hangs: the slowest asks name servers.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Answers are lists of apps at most.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

fn place(data_dir: &Path) -> PathBuf {
    data_dir.join("run/control")
}

/// Listens until the daemon ends. Only for the owner of the store's lock: a socket that is there was left behind.
pub fn start(data_dir: &Path, service: Service) -> Result<()> {
    let place = place(data_dir);
    let _ = fs::remove_file(&place); // of a daemon that was killed
    let listener = std::os::unix::net::UnixListener::bind(&place).with_context(|| place.display().to_string())?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let own = fs::metadata("/proc/self")?.uid();
    let app = routes(service);
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!(error = %e, "tidemill.control");
                    tokio::time::sleep(Duration::from_millis(100)).await; // descriptors come back
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == 0 || peer.uid() == own => {}
                other => {
                    tracing::warn!(peer = ?other.map(|p| p.uid()), "tidemill.control_refused");
                    continue;
                }
            }
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(())
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/setup-link", post(setup_link))
        .route("/setup", get(setup))
        .route("/status", get(status))
        .route("/records", get(records))
        .route("/domain", post(domain))
        .route("/first-admin", post(first_admin))
        .with_state(service)
}

/// An error on its way out.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(error) = self;
        if let Some(private) = &error.private {
            tracing::error!(id = error.id, reason = %private, "tidemill.control_failed");
        }
        let status = match error.kind {
            Kind::Unauthorized | Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Invalid | Kind::Limited => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "id": error.id, "message": error.public }))).into_response()
    }
}

type Answer = Result<Json<Value>, Failed>;

fn root(service: &Service) -> Ctx {
    Ctx::root(service.now())
}

async fn setup_link(State(service): State<Service>) -> Answer {
    let secret = service.create_setup_link(&root(&service)).await?;
    let addresses = service.addresses();
    Ok(Json(json!({ "url": format!("{}/setup/{secret}", addresses.url(&addresses.domain)) })))
}

/// What the first start has to know.
async fn setup(State(service): State<Service>) -> Answer {
    let ctx = root(&service);
    let addresses = service.addresses();
    Ok(Json(json!({
        "needs_setup": service.needs_setup()?,
        "domain": addresses.domain,
        "url": addresses.url(&addresses.domain),
        "domain_without_dns": service.domain_without_dns(&ctx).await?,
        "checks": service.machine_checks(&ctx).await?,
    })))
}

/// The machine and its apps.
async fn status(State(service): State<Service>) -> Answer {
    let ctx = root(&service);
    let (promises, limit) = service.promised(&ctx)?;
    let promised: u64 = promises.iter().map(|promise| promise.bytes).sum();
    let mut apps = Vec::new();
    for app in service.apps(&ctx)? {
        let (_, dynos) = service.dynos(&ctx, &app.id.to_string())?;
        let count = |state| dynos.iter().filter(|dyno| dyno.state == state).count();
        let states = [
            (DynoState::Crashed, "crashed"),
            (DynoState::Starting, "starting"),
            (DynoState::Up, "up"),
            (DynoState::Idle, "idle"),
        ];
        let state = states.iter().find(|(state, _)| count(*state) > 0).map_or("down", |(_, word)| word);
        apps.push(json!({
            "name": app.name,
            "state": if app.maintenance { "maintenance" } else { state },
            "dynos": dynos.len(),
            "up": count(DynoState::Up),
            "crashed": count(DynoState::Crashed),
            "release": app.current,
            "web_url": service.addresses().app_url(&app.name),
        }));
    }
    let addresses = service.addresses();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "server": addresses.url(&addresses.domain),
        "needs_setup": service.needs_setup()?,
        "memory": { "promised_bytes": promised, "limit_bytes": limit },
        "checks": service.machine_checks(&ctx).await?,
        "apps": apps,
    })))
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
}

async fn records(State(service): State<Service>, Query(asked): Query<Domain>) -> Answer {
    Ok(Json(json!(service.domain_records(&root(&service), &asked.domain).await?)))
}

async fn domain(State(service): State<Service>, Json(asked): Json<Domain>) -> Answer {
    let domain = service.set_platform_domain(&root(&service), &asked.domain).await?;
    Ok(Json(json!({ "domain": domain, "changes": domain != service.addresses().domain })))
}

#[derive(Deserialize)]
struct Admin {
    email: String,
    password: String,
}

async fn first_admin(State(service): State<Service>, Json(asked): Json<Admin>) -> Answer {
    let (account, token) = service.create_first_admin(&root(&service), &asked.email, &asked.password).await?;
    Ok(Json(json!({ "email": account.email, "token": token })))
}

/// Why a call came to nothing.
#[derive(Debug)]
pub enum Refusal {
    /// No daemon listens there.
    NotThere,
    /// The data directory is somebody else's.
    NotAllowed,
    /// The daemon said no: status and reason.
    Said(u16, String),
    /// The connection was cut, or took too long.
    Cut(String),
}

impl Refusal {
    /// For people, with the next step; the exit code (`ux.md` section 3).
    pub fn told(&self) -> ExitCode {
        let (text, code) = match self {
            Self::NotThere => {
                ("The daemon does not run. Start it: sudo systemctl start tidemill (or tidemill serve)".to_string(), 6)
            }
            Self::NotAllowed => ("This is for root on the machine: put sudo in front of it.".to_string(), 3),
            Self::Said(status, text) => (
                text.clone(),
                if *status == 409 {
                    5
                } else if *status == 422 {
                    2
                } else {
                    1
                },
            ),
            Self::Cut(text) => (format!("The daemon does not answer: {text}. What it says: journalctl -u tidemill"), 6),
        };
        eprintln!(" !    {text}");
        ExitCode::from(code)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotThere,
            io::ErrorKind::PermissionDenied => Self::NotAllowed,
            _ => Self::Cut(error.to_string()),
        }
    }
}

/// Calls the daemon of `data_dir`; `Null` for no body.
///
/// # Errors
/// Why nothing came of it.
pub fn call(data_dir: &Path, method: &str, path: &str, body: &Value) -> Result<Value, Refusal> {
    let mut stream = UnixStream::connect(place(data_dir))?;
    stream.set_read_timeout(Some(CALL_LIMIT))?;
    stream.set_write_timeout(Some(CALL_LIMIT))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    // The older protocol: the end of the answer is the end of the connection.
    let head = format!("{method} {path} HTTP/1.0\r\nhost: control\r\ncontent-type: application/json\r\ncontent-length: ");
    stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let cut = || Refusal::Cut("half an answer came".into());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(cut)?;
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    match status {
        200 => Ok(body),
        _ => Err(Refusal::Said(status, body["message"].as_str().unwrap_or("The daemon could not do that.").into())),
    }
}
