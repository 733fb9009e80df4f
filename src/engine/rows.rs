//! The engine's own changes of rows: states of dynos, builds and releases.

use crate::Engine;
use domain::{
    App, AppId, Dyno, DynoId, DynoState, EventBody, Origin, ReleaseStatus, Slug,
    plan::{WEB, Wanted, WantedType},
    size,
};
use service::{Ctx, RELEASE};
use std::time::Duration;
use store::{ReadRows, StoreError, Tx, tables};

/// What an app's actor looks at.
pub struct View {
    /// `None` when it was destroyed.
    pub app: Option<App>,
    pub wanted: Wanted,
    pub dynos: Vec<Dyno>,
}

/// Reads wanted and actual of an app. `preboot_hold` is how long old web dynos serve on where an app wants that.
pub fn view(rows: &impl ReadRows, id: AppId, preboot_hold: Duration) -> Result<View, StoreError> {
    let mut dynos = Vec::new();
    for dyno in rows.scan(&tables::DYNO_BY_APP, &id)? {
        dynos.extend(rows.get(&tables::DYNOS, &dyno)?);
    }
    let app = rows.get(&tables::APPS, &id)?;
    let wanted = match &app {
        Some(app) => wanted(rows, app, preboot_hold)?,
        None => Wanted {
            release: None,
            proven: true,
            fallback: None,
            generation: 0,
            asleep: false,
            hold_until: None,
            in_steps: false,
            types: Vec::new(),
        },
    };
    Ok(View { app, wanted, dynos })
}

fn wanted(rows: &impl ReadRows, app: &App, preboot_hold: Duration) -> Result<Wanted, StoreError> {
    let slug = app.current.map(|version| slug_of(rows, app.id, version)).transpose()?.flatten();
    let mut types = Vec::new();
    if let Some(slug) = &slug {
        let entries = rows.scan(&tables::FORMATION, &app.id)?;
        for entry in entries.into_iter().filter(|e| e.ptype != RELEASE && slug.process_types.contains_key(&e.ptype)) {
            types.push(WantedType { ptype: entry.ptype, quantity: entry.quantity, size: entry.size });
        }
    }
    // A blank release is no way back: it would take a crashed app for an empty one.
    let fallback = match app.proven {
        Some(version) if slug_of(rows, app.id, version)?.is_some() => Some(version),
        _ => None,
    };
    let proven = app.proven == app.current;
    let in_steps = app.in_steps.is_some() && app.in_steps == app.current;
    // In steps there are no two sets, so nothing is warmed up beside what serves.
    let preboots = !proven && !in_steps && fallback.is_some() && types.iter().any(|t| t.ptype == WEB && app.preboots(&t.size));
    // From the moment in which it became the wanted one: a release phase changes its row last.
    let release = app.current.filter(|_| preboots).map(|v| rows.get(&tables::RELEASES, &(app.id, v))).transpose()?.flatten();
    let hold_ms = u64::try_from(preboot_hold.as_millis()).unwrap_or(u64::MAX);
    Ok(Wanted {
        release: app.current,
        proven,
        fallback,
        generation: app.generation,
        asleep: app.asleep_since.is_some(),
        hold_until: release.map(|release| release.updated_at.plus_ms(hold_ms)),
        in_steps,
        types,
    })
}

/// The code of a release.
pub fn slug_of(rows: &impl ReadRows, app: AppId, version: u64) -> Result<Option<Slug>, StoreError> {
    let Some(release) = rows.get(&tables::RELEASES, &(app, version))? else { return Ok(None) };
    release.slug.map(|slug| rows.get(&tables::SLUGS, &slug)).transpose().map(Option::flatten)
}

impl Engine {
    /// [`view`] with the settings of this installation.
    pub(crate) fn view(&self, id: AppId) -> Result<View, StoreError> {
        view(&self.shared.parts.store, id, self.shared.parts.settings.preboot_hold)
    }

    /// Changes a dyno's row and appends the event; `None` when the row is gone or `change` declines.
    pub(crate) async fn update_dyno(
        &self,
        id: DynoId,
        change: impl FnOnce(&mut Dyno) -> bool + Send + 'static,
    ) -> Result<Option<Dyno>, StoreError> {
        let ctx = self.ctx();
        self.shared
            .parts
            .store
            .commit(move |tx| {
                let Some(mut dyno) = tx.get(&tables::DYNOS, &id)? else { return Ok(None) };
                if !change(&mut dyno) {
                    return Ok(None);
                }
                tx.put(&tables::DYNOS, &id, &dyno)?;
                tx.event(ctx.now, Some(dyno.app), Origin::default(), EventBody::DynoChanged { dyno: id })?;
                Ok(Some(dyno))
            })
            .await
    }

    /// Moves a dyno to another state; `None` when it was in a state from which that makes no sense.
    pub(crate) async fn set_state(&self, id: DynoId, state: DynoState) -> Result<Option<Dyno>, StoreError> {
        let now = self.shared.parts.clock.now();
        self.update_dyno(id, move |dyno| {
            let possible = dyno.state != state && dyno.state != DynoState::Stopping;
            if possible {
                dyno.state = state;
                dyno.updated_at = now;
            }
            possible
        })
        .await
    }

    /// The dyno is up, at its address. `None` when it was told to stop.
    pub(crate) async fn set_up(&self, dyno: &Dyno) -> Result<Option<Dyno>, StoreError> {
        let (now, address) = (self.shared.parts.clock.now(), dyno.address);
        self.update_dyno(dyno.id, move |row| {
            let possible = row.state == DynoState::Starting;
            if possible {
                row.state = DynoState::Up;
                row.address = address;
                row.updated_at = now;
            }
            possible
        })
        .await
    }

    /// Removes a dyno's row.
    pub(crate) async fn forget_dyno(&self, id: DynoId) -> Result<(), StoreError> {
        let ctx = self.ctx();
        self.shared
            .parts
            .store
            .commit(move |tx| {
                let Some(dyno) = tx.get(&tables::DYNOS, &id)? else { return Ok(()) };
                tx.delete(&tables::DYNOS, &id);
                tx.delete(&tables::DYNO_BY_APP, &(dyno.app, id));
                tx.delete_all(&tables::DYNO_ENV, &id)?;
                tx.event(ctx.now, Some(dyno.app), Origin::default(), EventBody::DynoChanged { dyno: id })?;
                Ok(())
            })
            .await
    }

    /// The wanted release was seen to work.
    pub(crate) async fn prove(&self, app: AppId, version: u64) -> Result<(), StoreError> {
        let ctx = self.ctx();
        let work = move |tx: &mut Tx| {
            let Some(mut row) = tx.get(&tables::APPS, &app)? else { return Ok(()) };
            if row.current != Some(version) || row.proven == Some(version) {
                return Ok(());
            }
            row.proven = Some(version);
            row.in_steps = None;
            tx.put(&tables::APPS, &app, &row)?;
            // Types that the proven release does not have are gone for good.
            if let Some(slug) = slug_of(tx, app, version)? {
                for entry in tx.scan(&tables::FORMATION, &app)? {
                    if !slug.process_types.contains_key(&entry.ptype) {
                        tx.delete(&tables::FORMATION, &(app, entry.ptype));
                    }
                }
            }
            release_event(tx, &ctx, app, version)
        };
        self.shared.parts.store.commit(work).await
    }

    /// The wanted release is rolled out slot by slot from now on. False when it was so already, or is not wanted any more.
    pub(crate) async fn step(&self, app: AppId, version: u64) -> Result<bool, StoreError> {
        let ctx = self.ctx();
        let work = move |tx: &mut Tx| {
            let Some(mut row) = tx.get(&tables::APPS, &app)? else { return Ok(false) };
            if row.current != Some(version) || row.in_steps == Some(version) {
                return Ok(false);
            }
            row.in_steps = Some(version);
            tx.put(&tables::APPS, &app, &row)?;
            release_event(tx, &ctx, app, version)?;
            Ok(true)
        };
        self.shared.parts.store.commit(work).await
    }

    /// The wanted release did not come up: it failed, and the proven one is wanted again. Answers that one, and whether
    /// config vars went with the failed one; `None` when it is not so any more.
    pub(crate) async fn fail_release(&self, app: AppId, version: u64) -> Result<Option<(u64, bool)>, StoreError> {
        let ctx = self.ctx();
        let work = move |tx: &mut Tx| {
            let Some(mut row) = tx.get(&tables::APPS, &app)? else { return Ok(None) };
            let Some(fallback) = row.proven.filter(|_| row.current == Some(version)) else { return Ok(None) };
            row.current = Some(fallback);
            row.in_steps = None;
            let mut config_goes = false;
            if let Some(mut release) = tx.get(&tables::RELEASES, &(app, version))? {
                // Config vars that it brought go with it, as after a release phase that failed: what people see and what
                // the next release gets is what serves.
                let before = tx.get(&tables::RELEASES, &(app, fallback))?;
                if let Some(before) = before.filter(|_| release.config_version == version && row.config_version == version) {
                    row.config_version = before.config_version;
                    config_goes = true;
                }
                release.status = ReleaseStatus::Failed;
                release.updated_at = ctx.now;
                tx.put(&tables::RELEASES, &(app, version), &release)?;
            }
            tx.put(&tables::APPS, &app, &row)?;
            release_event(tx, &ctx, app, version)?;
            Ok(Some((fallback, config_goes)))
        };
        self.shared.parts.store.commit(work).await
    }
}

fn release_event(tx: &mut Tx, ctx: &Ctx, app: AppId, version: u64) -> Result<(), StoreError> {
    tx.event(ctx.now, Some(app), Origin::default(), EventBody::ReleaseChanged { version }).map(|_| ())
}

/// Memory, tasks and CPU of a size.
pub fn limits_of(size_name: &str) -> runtime::Limits {
    let size = size::find_or_default(size_name);
    runtime::Limits {
        memory_bytes: size.memory_bytes,
        memory_hard: false,
        tasks_max: size.tasks_max,
        cpu_share: size.cpu_share,
        cores: Some(size.cores),
    }
}
