//! Formation: how many dynos of which type and size.

use crate::{Action, Ctx, Error, Result, Service, capacity, dynos, find_app, one_offs::RELEASE};
use domain::{App, EventBody, Formation, Origin, SlugId, limits::DYNOS_PER_APP_MAX, plan::WEB, size};
use std::collections::BTreeMap;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// One line of `PATCH /apps/A/formation`.
#[derive(Debug, Clone)]
pub struct FormationChange {
    /// Type or id.
    pub ptype: String,
    /// Absolute, or relative as `+1` or `-1`.
    pub quantity: Option<Quantity>,
    /// Size name, any case.
    pub size: Option<String>,
}

/// A wanted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// This many.
    Exactly(u32),
    /// This many more or fewer.
    By(i64),
}

impl std::str::FromStr for Quantity {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("Quantity {text:?} is no number."));
        if text.starts_with(['+', '-']) {
            return text.parse().map(Self::By).map_err(|_| bad());
        }
        text.parse().map(Self::Exactly).map_err(|_| bad())
    }
}

/// After a new slug: types that are new get an entry; the first `web` starts with one, if there is memory for it. Types that are gone keep theirs,
/// unseen, until the release is proven: the way back needs them.
///
/// # Errors
/// When rows can not be read or written.
pub fn follow_slug(tx: &mut Tx, ctx: &Ctx, app: &App, slug: SlugId) -> Result<()> {
    let slug = tx.get(&tables::SLUGS, &slug)?.ok_or_else(|| Error::internal("a release names a slug that is not there"))?;
    let existing = tx.scan(&tables::FORMATION, &app.id)?;
    for ptype in slug.process_types.keys().filter(|t| !existing.iter().any(|f| f.ptype == **t)) {
        let mut quantity = u32::from(ptype == WEB);
        if quantity > 0 {
            match capacity::check(tx, ctx, app, memory(size::DEFAULT_SIZE)) {
                Err(e) if capacity::is_short(&e) => {
                    quantity = 0;
                    tx.event(ctx.now, Some(app.id), Origin::default(), EventBody::CapacityShort { text: e.public })?;
                }
                other => other?,
            }
        }
        let entry = Formation {
            id: Uuid::new_v4(),
            app: app.id,
            ptype: ptype.clone(),
            quantity,
            size: size::DEFAULT_SIZE.into(),
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        tx.put(&tables::FORMATION, &(app.id, ptype.clone()), &entry)?;
    }
    Ok(())
}

/// Process types of the current release.
pub(crate) fn current_types(rows: &impl ReadRows, app: &App) -> Result<BTreeMap<String, String>> {
    let slug = crate::config::current_slug(rows, app)?;
    let slug = slug.map(|id| rows.get(&tables::SLUGS, &id)).transpose()?.flatten();
    Ok(slug.map(|s| s.process_types).unwrap_or_default())
}

fn memory(size_name: &str) -> u64 {
    size::find_or_default(size_name).memory_bytes
}

/// What these entries are promised.
fn promised(entries: &[Formation]) -> u64 {
    entries.iter().filter(|e| e.ptype != RELEASE).map(|e| u64::from(e.quantity) * memory(&e.size)).sum()
}

impl Service {
    /// All entries, with their commands in the current release.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn formation(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Formation>, BTreeMap<String, String>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let types = current_types(self.store(), &app)?;
        let mut entries = self.store().scan(&tables::FORMATION, &app.id)?;
        entries.retain(|entry| types.contains_key(&entry.ptype));
        Ok((app, entries, types))
    }

    /// Changes entries, all or none; answers those that were named.
    ///
    /// # Errors
    /// `not_found` for a type that the current release does not have, `invalid_params` for size and number.
    pub async fn scale(&self, ctx: &Ctx, app: &str, changes: Vec<FormationChange>) -> Result<Vec<Formation>> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let (ctx2, id) = (ctx.clone(), app.id);
        let changed = self
            .store()
            .commit(move |tx| {
                let mut app = find_app(tx, &id.to_string())?;
                let types = current_types(tx, &app)?;
                let mut all = tx.scan(&tables::FORMATION, &id)?;
                all.retain(|entry| types.contains_key(&entry.ptype));
                let before = promised(&all);
                let mut named = Vec::new();
                for change in changes {
                    let found = all.iter_mut().find(|f| f.ptype == change.ptype || f.id.to_string() == change.ptype);
                    let entry = found.ok_or_else(|| {
                        Error::not_found("formation", format!("Couldn't find that process type ({}).", change.ptype))
                    })?;
                    apply(entry, &change)?;
                    entry.updated_at = ctx2.now;
                    named.push(entry.ptype.clone());
                }
                let total: u64 = all.iter().map(|f| u64::from(f.quantity)).sum();
                if total > u64::from(DYNOS_PER_APP_MAX) {
                    return Err(Error::invalid(format!(
                        "An app can have {DYNOS_PER_APP_MAX} dynos in all, this would be {total}."
                    )));
                }
                capacity::check(tx, &ctx2, &app, promised(&all).saturating_sub(before))?;
                all.retain(|f| named.contains(&f.ptype));
                dynos::forget_crashes(tx, id, &all)?;
                if app.asleep_since.take().is_some() {
                    tx.put(&tables::APPS, &id, &app)?;
                }
                for entry in &all {
                    tx.put(&tables::FORMATION, &(id, entry.ptype.clone()), entry)?;
                }
                tx.event(ctx2.now, Some(id), ctx2.origin(), EventBody::FormationChanged)?;
                Ok::<_, Error>(all)
            })
            .await?;
        let text: Vec<String> = changed.iter().map(|f| format!("{}@{}:{}", f.ptype, f.quantity, f.size)).collect();
        self.log_action(id, ctx, &format!("Scaled to {}", text.join(" ")));
        Ok(changed)
    }
}

fn apply(entry: &mut Formation, change: &FormationChange) -> Result<()> {
    if let Some(name) = &change.size {
        let found = size::find(name).ok_or_else(|| Error::invalid(format!("No such size as {name}.")))?;
        entry.size = found.name.into();
    }
    if let Some(quantity) = change.quantity {
        let wanted = match quantity {
            Quantity::Exactly(n) => i64::from(n),
            Quantity::By(n) => i64::from(entry.quantity).saturating_add(n),
        };
        if entry.ptype == RELEASE && wanted != 0 {
            return Err(Error::invalid("The release process type can not be scaled."));
        }
        let limit = size::find_or_default(&entry.size).per_type_max.max(1);
        let limit = if entry.size == "Eco" || entry.size == "Basic" { limit } else { limit.min(DYNOS_PER_APP_MAX) };
        entry.quantity = u32::try_from(wanted).ok().filter(|n| *n <= limit).ok_or_else(|| {
            Error::invalid(format!("{} can have 0 to {limit} dynos of size {}, not {wanted}.", entry.ptype, entry.size))
        })?;
    }
    Ok(())
}
