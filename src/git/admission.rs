//! Which app somebody may clone or push; the same over HTTP and SSH.

use crate::Receiver;
use domain::App;
use service::{Ctx, Error, Kind};

/// Why not.
pub struct Refusal {
    /// For the status over HTTP.
    pub kind: Kind,
    /// Lines for the user, with the marks that git's users know (`git-contract.md` section 2).
    pub text: String,
}

/// The app of a repository `NAME` or `NAME.git`, if `ctx` may read it or (`writes`) deploy it.
pub fn app(receiver: &Receiver, ctx: &Ctx, repo: &str, writes: bool) -> Result<App, Refusal> {
    let service = &receiver.inner.service;
    let name = repo.strip_suffix(".git").unwrap_or(repo);
    let app = if writes { service.app_to_deploy(ctx, name) } else { service.app(ctx, name) };
    // By name only: an id would be a second address of the same repository.
    let app = app.and_then(|app| if app.name == name { Ok(app) } else { Err(Error::not_found("app", "")) });
    app.map_err(|e| Refusal {
        text: match e.kind {
            Kind::NotFound => format!("\n!\tNo such app as {}.\n", name.escape_default()),
            _ => format!("!\t{}\n", e.public),
        },
        kind: e.kind,
    })
}
