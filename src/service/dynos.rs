//! Dynos, as people see them and ask for them to be replaced.

use crate::{Action, Ctx, Error, Result, Service, find_app};
use domain::{App, AppId, Dyno, DynoId, DynoKind, DynoState, EventBody, Formation, UnixMs, plan::WEB};
use std::collections::BTreeMap;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

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

/// While preboot keeps the old web dynos serving, people see the new ones only (`runtime.md` section 11).
fn hide_old_web(app: &App, formation: &[Formation], dynos: &mut Vec<Dyno>) {
    let preboots = formation.iter().any(|entry| entry.ptype == WEB && app.preboots(&entry.size));
    if preboots && app.proven.is_some() && app.proven != app.current {
        let is_old = |d: &Dyno| d.kind == DynoKind::Formation && d.ptype == WEB && Some(d.release) != app.current;
        dynos.retain(|d| !is_old(d));
    }
}

/// The slots of a sleeping app. There are no rows for them; the ids are those of the slots, so that they stay the same.
fn idle(app: &App, since: UnixMs, formation: &[Formation], commands: &BTreeMap<String, String>) -> Vec<Dyno> {
    let slots = formation.iter().flat_map(|entry| (1..=entry.quantity).map(move |num| (entry, num)));
    let runnable = slots.filter_map(|(entry, num)| Some((entry, num, commands.get(&entry.ptype)?)));
    let dyno = |(entry, num, command): (&Formation, u32, &String)| Dyno {
        id: DynoId(Uuid::from_u128(entry.id.as_u128() ^ u128::from(num))),
        app: app.id,
        kind: DynoKind::Formation,
        ptype: entry.ptype.clone(),
        num,
        command: command.clone(),
        release: app.current.unwrap_or(0),
        generation: app.generation,
        size: entry.size.clone(),
        state: DynoState::Idle,
        port: None,
        address: None,
        user_slot: 0,
        crashes: 0,
        restart: false,
        time_to_live_s: None,
        attach: None,
        created_at: since,
        updated_at: since,
    };
    runnable.map(dyno).collect()
}

/// Scaling a slot away forgets its crashes, also when it is wanted again before anybody looked.
pub(crate) fn forget_crashes(tx: &mut Tx, app: AppId, changed: &[Formation]) -> Result<()> {
    for mut dyno in rows(tx, app)? {
        let scaled_away = changed.iter().any(|entry| entry.ptype == dyno.ptype && entry.quantity < dyno.num);
        if dyno.state == DynoState::Crashed && scaled_away {
            dyno.restart = true;
            tx.put(&tables::DYNOS, &dyno.id, &dyno)?;
        }
    }
    Ok(())
}

impl Service {
    /// What `ps` shows.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn dynos(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Dyno>)> {
        let (app, formation, commands) = self.formation(ctx, app)?;
        let mut dynos = rows(self.store(), app.id)?;
        hide_old_web(&app, &formation, &mut dynos);
        if let Some(since) = app.asleep_since {
            dynos.retain(|d| d.kind == DynoKind::OneOff);
            dynos.extend(idle(&app, since, &formation, &commands));
        }
        Ok((app, visible(dynos)))
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
                let slept = app.asleep_since.take().is_some();
                if slept {
                    tx.put(&tables::APPS, &id, &app)?; // it wakes, and all of its dynos are new
                }
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
                        let ptype = which.split('.').next().unwrap_or_default().to_string();
                        let slept_slot = slept && tx.get(&tables::FORMATION, &(id, ptype))?.is_some();
                        if found.is_empty() && !slept_slot {
                            return Err(Error::not_found("dyno", "Couldn't find that dyno."));
                        }
                        for mut dyno in found {
                            dyno.restart = true;
                            tx.put(&tables::DYNOS, &dyno.id, &dyno)?;
                        }
                    }
                }
                tx.event(ctx2.now, Some(id), ctx2.origin(), EventBody::RestartRequested)?;
                Ok(app)
            })
            .await
    }
}
