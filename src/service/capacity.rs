//! How much memory the dynos of the host may be promised, and the refusal to promise more (issue: asking for more than
//! there is gets the numbers).
//!
//! In use is the sum over the formation rows of all apps, as they are wanted, and over one-off dynos. An app that sleeps
//! counts nothing, which is what its size is for; it is never refused when it wakes. Builds have limits of their own.

use crate::{Action, Actor, Ctx, Error, Kind, Result, Service, access, one_offs::RELEASE};
use domain::{App, AppId, DynoKind, size};
use std::collections::BTreeMap;
use store::{ReadRows, tables};

/// Bytes of the limit in [`tables::META`]: there every transaction can look at it. Written at each start.
const KEY: &str = "capacity_bytes";
/// Apps that are named in a refusal, the largest first.
const NAMED_MAX: usize = 5;

fn memory(size_name: &str) -> u64 {
    size::find_or_default(size_name).memory_bytes
}

const fn mb(bytes: u64) -> u64 {
    bytes >> 20
}

/// Memory that each app is promised. One pass over the formation and one over the dynos: hundreds of rows.
fn in_use(rows: &impl ReadRows) -> Result<BTreeMap<AppId, u64>> {
    let mut used: BTreeMap<AppId, u64> = BTreeMap::new();
    let asleep: Vec<AppId> =
        rows.scan(&tables::APPS, &())?.into_iter().filter(|a| a.asleep_since.is_some()).map(|a| a.id).collect();
    for entry in rows.scan(&tables::FORMATION, &())?.iter().filter(|e| e.ptype != RELEASE && !asleep.contains(&e.app)) {
        *used.entry(entry.app).or_default() += u64::from(entry.quantity) * memory(&entry.size);
    }
    for dyno in rows.scan(&tables::DYNOS, &())?.iter().filter(|d| d.kind == DynoKind::OneOff) {
        *used.entry(dyno.app).or_default() += memory(&dyno.size);
    }
    Ok(used)
}

/// Refuses with the numbers when `app` would take `more` bytes than it has now and they are not there.
///
/// # Errors
/// `capacity`.
pub(crate) fn check(rows: &impl ReadRows, ctx: &Ctx, app: &App, more: u64) -> Result<()> {
    let Some(limit) = rows.get(&tables::META, &KEY.to_string())?.filter(|limit| *limit > 0) else { return Ok(()) };
    if more == 0 {
        return Ok(());
    }
    let used = in_use(rows)?;
    let total: u64 = used.values().sum();
    if total.saturating_add(more) <= limit {
        return Ok(());
    }
    let text = format!(
        "{} needs {} MB more, {} of {} MB are free; in use: {}. Scale something down, take a smaller size, or let the operator \
         raise capacity_mb or overcommit_percent.",
        app.name,
        mb(more),
        mb(limit.saturating_sub(total)),
        mb(limit),
        users(rows, ctx, app.id, used)?
    );
    Err(Error { id: "capacity", ..Error::invalid(text) })
}

/// Who uses it, by name where the actor may know the name. What the platform does by itself ends in the log of one app.
fn users(rows: &impl ReadRows, ctx: &Ctx, own: AppId, used: BTreeMap<AppId, u64>) -> Result<String> {
    let known = |app: &App| {
        app.id == own
            || (ctx.actor != Actor::Platform && access::may(rows, ctx, Action::Read, crate::On::App(app)).unwrap_or(false))
    };
    let mut largest: Vec<(AppId, u64)> = used.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let (mut parts, mut others) = (Vec::new(), 0);
    for (id, bytes) in largest {
        match rows.get(&tables::APPS, &id)?.filter(&known) {
            Some(app) if parts.len() < NAMED_MAX => parts.push(format!("{} {} MB", app.name, mb(bytes))),
            _ => others += bytes,
        }
    }
    if others > 0 {
        parts.push(format!("other apps {} MB", mb(others)));
    }
    Ok(if parts.is_empty() { "nothing".into() } else { parts.join(", ") })
}

/// True for the refusal of [`check`].
pub(crate) fn is_short(error: &Error) -> bool {
    error.kind == Kind::Invalid && error.id == "capacity"
}

/// Memory that is promised to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its name; `None` stands for all apps whose names the actor may not know.
    pub app: Option<String>,
    /// Bytes.
    pub bytes: u64,
}

impl Service {
    /// Memory that is promised, the largest first, and the limit if there is one.
    ///
    /// # Errors
    /// `forbidden`; when the store can not be read.
    pub fn promised(&self, ctx: &Ctx) -> Result<(Vec<Promise>, Option<u64>)> {
        access::check(self.store(), ctx, Action::Account, crate::On::Platform)?;
        let limit = self.store().get(&tables::META, &KEY.to_string())?.filter(|limit| *limit > 0);
        let (mut known, mut others) = (Vec::new(), 0);
        for (id, bytes) in in_use(self.store())?.into_iter().filter(|(_, bytes)| *bytes > 0) {
            match self.store().get(&tables::APPS, &id)? {
                Some(app) if access::may(self.store(), ctx, Action::Read, crate::On::App(&app))? => {
                    known.push(Promise { app: Some(app.name), bytes });
                }
                _ => others += bytes,
            }
        }
        known.sort_by_key(|promise| std::cmp::Reverse(promise.bytes));
        known.extend((others > 0).then_some(Promise { app: None, bytes: others }));
        Ok((known, limit))
    }

    /// Sets the limit; `None` for none. At the start, before anything is asked for.
    ///
    /// # Errors
    /// When it can not be written.
    pub async fn set_capacity(&self, bytes: Option<u64>) -> Result<()> {
        let work = move |tx: &mut store::Tx| -> Result<()> {
            tx.put(&tables::META, &KEY.to_string(), &bytes.unwrap_or(0))?;
            Ok(())
        };
        self.store().commit(work).await
    }
}
