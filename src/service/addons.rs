//! Add-ons. No provider is connected to this server, so there are none; the questions of clients get their true answers.

use crate::{Action, Ctx, Error, On, Result, Service, access};
use domain::App;

fn missing() -> Error {
    Error::not_found("add_on", "Couldn't find that add-on.")
}

impl Service {
    /// May the actor ask for add-ons of all apps?
    ///
    /// # Errors
    /// `forbidden`.
    pub fn ask_for_addons(&self, ctx: &Ctx) -> Result<()> {
        access::check(self.store(), ctx, Action::Account, On::Platform)
    }

    /// The app whose add-ons are asked for.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn app_with_addons(&self, ctx: &Ctx, app: &str) -> Result<App> {
        self.app_for(ctx, Action::Read, app)
    }

    /// An add-on of an app, or of any.
    ///
    /// # Errors
    /// `not_found` always; `forbidden`.
    pub fn addon(&self, ctx: &Ctx, app: Option<&str>) -> Result<std::convert::Infallible> {
        match app {
            Some(app) => drop(self.app_for(ctx, Action::Read, app)?),
            None => self.ask_for_addons(ctx)?,
        }
        Err(missing())
    }

    /// An attachment of an app, or of any.
    ///
    /// # Errors
    /// `not_found` always; `forbidden`.
    pub fn addon_attachment(&self, ctx: &Ctx, app: Option<&str>) -> Result<std::convert::Infallible> {
        match app {
            Some(app) => drop(self.app_for(ctx, Action::Read, app)?),
            None => self.ask_for_addons(ctx)?,
        }
        Err(Error::not_found("add_on attachment", "Couldn't find that add-on attachment."))
    }

    /// Makes an add-on of a plan such as `postgres:small`.
    ///
    /// # Errors
    /// `not_found` for the app or, always, for the service; `forbidden`, `invalid_params`.
    pub fn create_addon(&self, ctx: &Ctx, app: &str, plan: &str) -> Result<std::convert::Infallible> {
        self.app_for(ctx, Action::Write, app)?;
        self.addon_service(ctx, plan.split(':').next().unwrap_or(plan))
    }

    /// A service that add-ons are made of.
    ///
    /// # Errors
    /// `not_found` always; `forbidden`, `invalid_params` for a name that none can have.
    pub fn addon_service(&self, ctx: &Ctx, name: &str) -> Result<std::convert::Infallible> {
        self.ask_for_addons(ctx)?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 128 || !name.bytes().all(good) {
            return Err(Error::invalid("Plan must be a service and a plan, such as postgres:small."));
        }
        let text = format!(
            "Couldn't find that add-on service: no provider on this server offers {name}; run it elsewhere and set its address \
             with config:set."
        );
        Err(Error::not_found("add_on_service", text))
    }
}
