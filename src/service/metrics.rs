//! Numbers over time, for whoever may see the app; those of the host are for admins.

use crate::{Action, Ctx, Error, On, Result, Service, access};
use domain::{App, UnixMs};
use logs::series::{Kind, Metrics, Query, Series};
use store::{ReadRows, tables};

/// What can be asked of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricQuery {
    /// What.
    pub kind: Kind,
    /// Only dynos of this type, or this dyno (`web`, `web.1`).
    pub process: Option<String>,
    /// From.
    pub from: UnixMs,
    /// Up to.
    pub to: UnixMs,
    /// Wanted seconds of a step; `None` for one that suits the span.
    pub step_s: Option<u32>,
}

impl MetricQuery {
    /// The last `seconds` up to `now`.
    pub fn last(kind: Kind, now: UnixMs, seconds: u64) -> Self {
        Self { kind, process: None, from: UnixMs(now.0.saturating_sub(seconds * 1000)), to: now, step_s: None }
    }

    fn plain(&self) -> Result<Query> {
        if self.from >= self.to {
            return Err(Error::invalid("from must be before to."));
        }
        Ok(Query {
            kind: self.kind,
            process: self.process.clone(),
            from_s: self.from.0 / 1000,
            to_s: self.to.0.div_ceil(1000),
            step_s: self.step_s.unwrap_or(0),
        })
    }
}

impl Service {
    /// The series of this host, for whoever fills them.
    pub fn series(&self) -> &Metrics {
        &self.parts().series
    }

    /// A series of an app. The step may come out longer than was asked for, see [`Metrics::query`].
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` for a span that ends before it begins or a kind that is of the host.
    pub fn metrics(&self, ctx: &Ctx, app: &str, query: &MetricQuery) -> Result<(App, Series)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        if query.kind.of_host() {
            return Err(Error::invalid(format!("{} is about the server, not about an app.", query.kind.as_str())));
        }
        let series = self.series().query(Some(app.id), &query.plain()?, ctx.now.0 / 1000);
        Ok((app, series))
    }

    /// A series of the host.
    ///
    /// # Errors
    /// `forbidden` for all but admins, `invalid_params`.
    pub fn host_metrics(&self, ctx: &Ctx, query: &MetricQuery) -> Result<Series> {
        access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
        if !query.kind.of_host() {
            return Err(Error::invalid(format!("{} is about an app, not about the server.", query.kind.as_str())));
        }
        Ok(self.series().query(None, &query.plain()?, ctx.now.0 / 1000))
    }

    /// Apps for a page of figures of everything.
    ///
    /// # Errors
    /// `forbidden` for all but admins.
    pub fn metered_apps(&self, ctx: &Ctx) -> Result<Vec<App>> {
        access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
        Ok(self.store().scan(&tables::APPS, &())?)
    }
}
