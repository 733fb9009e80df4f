//! Dynos, as people see them and ask for them to be replaced.

use crate::{Action, Ctx, Error, Result, Service, find_app};
use domain::{App, AppId, Dyno, DynoKind, DynoState, EventBody};
use store::{ReadRows, tables};

/// Rows of all dynos of an app, also of those that are on their way out.
fn rows(reader: &impl ReadRows, app: AppId) -> Result<Vec<Dyno>> {
    let mut dynos = Vec::new();
    for id in reader.scan(&tables::DYNO_BY_APP, &app)? {
        dynos.extend(reader.get(&tables::DYNOS, &id)?);
    }
    dynos.sort_by(|a, b| (&a.ptype, a.num, a.created_at).cmp(&(&b.ptype, b.num, b.created_at)));
    Ok(dynos)
}

/// Of a slot with two dynos, people see the one that serves, or else the newest.
fn visible(mut dynos: Vec<Dyno>) -> Vec<Dyno> {
    dynos.retain(|d| d.state != DynoState::Stopping);
    dynos.sort_by_key(|d| (d.ptype.clone(), d.num, d.state != DynoState::Up, std::cmp::Reverse(d.created_at)));
    dynos.dedup_by(|a, b| a.ptype == b.ptype && a.num == b.num);
    dynos
}

impl Service {
    /// What `ps` shows.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn dynos(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Dyno>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let dynos = visible(rows(self.store(), app.id)?);
        Ok((app, dynos))
    }

    /// One dyno by id or name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn dyno(&self, ctx: &Ctx, app: &str, id_or_name: &str) -> Result<(App, Dyno)> {
        let (app, dynos) = self.dynos(ctx, app)?;
        let found = dynos.into_iter().find(|d| d.name() == id_or_name || d.id.to_string() == id_or_name);
        Ok((app, found.ok_or_else(|| Error::not_found("dyno", "Couldn't find that dyno."))?))
    }

    /// Replaces dynos: all (`None`), those of a type, or one by name or id. A stopped dyno of the formation comes back
    /// by itself (`runtime.md` section 6.6), so this serves `stop` too.
    ///
    /// # Errors
    /// `not_found` when nothing matches, `forbidden`.
    pub async fn restart(&self, ctx: &Ctx, app: &str, which: Option<&str>) -> Result<App> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let (ctx2, which, id) = (ctx.clone(), which.map(String::from), app.id);
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &id.to_string())?;
                match which {
                    None => {
                        app.generation += 1;
                        tx.put(&tables::APPS, &id, &app)?;
                    }
                    Some(which) => {
                        let of_type = |d: &Dyno| d.kind == DynoKind::Formation && d.ptype == which;
                        let matches = |d: &Dyno| d.name() == which || of_type(d) || d.id.to_string() == which;
                        let mut found = rows(tx, id)?;
                        found.retain(|d| d.state != DynoState::Stopping && matches(d));
                        if found.is_empty() {
                            return Err(Error::not_found("dyno", "Couldn't find that dyno."));
                        }
                        for mut dyno in found {
                            dyno.restart = true;
                            tx.put(&tables::DYNOS, &dyno.id, &dyno)?;
                        }
                    }
                }
                tx.event(ctx2.now, Some(id), ctx2.account(), ctx2.request_id.clone(), EventBody::RestartRequested)?;
                Ok(app)
            })
            .await
    }
}
