//! Log drains: which there are. `logs` hands the lines over, `engine` tells it to.

use crate::{Action, Ctx, Error, On, Result, Service, access};
use domain::{
    App, AppId, EventBody, LogDrain,
    drain::{DRAINS_PER_APP_MAX, DrainUrl},
};
use logs::drains::DrainState;
use store::{ReadRows, Sealer, Tx, tables, tables::SealedChunk};
use uuid::Uuid;

/// A drain as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownDrain {
    /// Its row.
    pub row: LogDrain,
    /// Its URL; without user, path and query for those who may not see secrets.
    pub url: String,
}

fn context(id: Uuid) -> Vec<u8> {
    format!("drain {id}").into_bytes()
}

/// The whole URL of a drain.
///
/// # Errors
/// When it does not open.
pub fn read_drain_url(sealer: &Sealer, row: &LogDrain) -> Result<String> {
    let chunks: Vec<_> = row.sealed_url.iter().cloned().map(SealedChunk).collect();
    let plain = sealer.open(&context(row.id), &chunks)?;
    String::from_utf8(plain).map_err(|_| Error::internal(format!("url of drain {}: no text", row.id)))
}

impl Service {
    /// Drains of an app in the order they were made.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn drains(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<ShownDrain>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let whole = access::may(self.store(), ctx, Action::ReadSecrets, On::App(&app))?;
        let mut shown = Vec::new();
        for row in drains_of(self.store(), app.id)? {
            let url = read_drain_url(&self.parts().sealer, &row)?;
            let url = if whole { url } else { DrainUrl::parse(&url).map(|url| url.shown()).unwrap_or_default() };
            shown.push(ShownDrain { row, url });
        }
        shown.sort_by_key(|drain| drain.row.created_at);
        Ok((app, shown))
    }

    /// One of them by id, token or URL.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn drain(&self, ctx: &Ctx, app: &str, name: &str) -> Result<(App, ShownDrain)> {
        let (app, all) = self.drains(ctx, app)?;
        let found = all.into_iter().find(|d| d.url == name || d.row.token == name || d.row.id.to_string() == name);
        Ok((app, found.ok_or_else(missing)?))
    }

    /// How one of them does, and how many lines wait for it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn drain_state(&self, ctx: &Ctx, app: &str, name: &str) -> Result<(ShownDrain, DrainState, u64)> {
        let (_, drain) = self.drain(ctx, app, name)?;
        // One that was just made does not run yet.
        let (state, lag) = self.parts().drains.state(drain.row.id).unwrap_or_default();
        Ok((drain, state, lag))
    }

    /// Hands one line over to the receiver now; gives the milliseconds that it took, or why it was not taken.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `conflict` for one that does not run yet.
    pub async fn test_drain(&self, ctx: &Ctx, app: &str, name: &str) -> Result<(ShownDrain, std::result::Result<u64, String>)> {
        let (app, drain) = self.drain(ctx, app, name)?;
        access::check(self.store(), ctx, Action::Write, On::App(&app))?;
        let tested = self.parts().drains.test(drain.row.id).await;
        let tested = tested.ok_or_else(|| Error::conflict("The drain does not run yet; try again in a moment."))?;
        Ok((drain, tested.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))))
    }

    /// Makes a drain. It gets the lines that come from now on.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` for the URL or when there are too many, `conflict` when there is one with
    /// that URL.
    pub async fn add_drain(&self, ctx: &Ctx, app: &str, url: &str) -> Result<(App, ShownDrain)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let parsed = DrainUrl::parse(url).map_err(Error::invalid)?;
        self.parts().drains.check(&parsed).map_err(|reason| Error::invalid(format!("Url can not be used: {reason}")))?;
        let after_seq = self.logs().app(app.id).last_seq();
        let (ctx2, id, sealer, url) = (ctx.clone(), app.id, self.parts().sealer.clone(), url.to_string());
        let drain = self
            .store()
            .commit(move |tx| -> Result<_> {
                let others = drains_of(tx, id)?;
                if others.len() >= DRAINS_PER_APP_MAX {
                    return Err(Error::invalid(format!("An app can have {DRAINS_PER_APP_MAX} log drains; remove one first.")));
                }
                for other in &others {
                    if read_drain_url(&sealer, other)? == url {
                        return Err(Error::conflict("The app has a drain with this url already."));
                    }
                }
                let (drain, sealed_at) = (Uuid::new_v4(), ctx2.now);
                let sealed_url = sealer.seal(&context(drain), url.as_bytes())?.into_iter().map(|chunk| chunk.0).collect();
                let token = format!("d.{}", Uuid::new_v4());
                let row =
                    LogDrain { id: drain, app: id, token, sealed_url, after_seq, created_at: sealed_at, updated_at: sealed_at };
                tx.put(&tables::DRAINS, &drain, &row)?;
                tx.put(&tables::DRAIN_BY_APP, &(id, drain), &drain)?;
                changed(tx, &ctx2, &row)?;
                Ok(ShownDrain { row, url })
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Add log drain {}", drain.row.token));
        Ok((app, drain))
    }

    /// Removes a drain by id, token or URL.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_drain(&self, ctx: &Ctx, app: &str, name: &str) -> Result<(App, ShownDrain)> {
        let (app, drain) = self.drain(ctx, app, name)?;
        access::check(self.store(), ctx, Action::Write, On::App(&app))?;
        let (ctx2, gone) = (ctx.clone(), drain.row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::DRAINS, &gone.id);
                tx.delete(&tables::DRAIN_BY_APP, &(gone.app, gone.id));
                changed(tx, &ctx2, &gone)
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Remove log drain {}", drain.row.token));
        Ok((app, drain))
    }
}

fn missing() -> Error {
    Error::not_found("log_drain", "Couldn't find that log drain.")
}

fn drains_of(rows: &impl ReadRows, app: AppId) -> Result<Vec<LogDrain>> {
    let ids = rows.scan(&tables::DRAIN_BY_APP, &app)?;
    let found: std::result::Result<Vec<_>, _> = ids.iter().map(|id| rows.get(&tables::DRAINS, id)).collect();
    Ok(found?.into_iter().flatten().collect())
}

fn changed(tx: &mut Tx, ctx: &Ctx, row: &LogDrain) -> Result<()> {
    tx.event(ctx.now, Some(row.app), ctx.origin(), EventBody::DrainChanged { drain: row.id })?;
    Ok(())
}
