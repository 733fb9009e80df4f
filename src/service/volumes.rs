//! Persistent volumes: folders that outlive dynos, releases and, for seven days, their app. What is done with the folders is
//! the business of `engine`; see `domain::volume` for the rules of names and paths.

use crate::{Action, Ctx, Error, On, ReleaseDraft, Result, Service, access, add_release, config::current_slug, find_app};
use domain::{
    App, AppId, EventBody, names,
    volume::{self, FIRST_SLOT, Place, VOLUMES_PER_APP_MAX, Volume},
};
use std::collections::BTreeSet;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// A volume to be made, or to be taken out of the trash.
#[derive(Clone, Debug)]
pub struct NewVolume {
    /// Its name in the app; of one from the trash it may be left out.
    pub name: Option<String>,
    /// What it is meant for; see [`Volume::size_bytes`].
    pub size_bytes: Option<u64>,
    /// One that is in the trash.
    pub from_trash: Option<Uuid>,
}

/// Volumes of an app, oldest first.
fn of(rows: &impl ReadRows, app: AppId) -> Result<Vec<Volume>> {
    let mut all = rows.scan(&tables::VOLUMES, &())?;
    all.retain(|v| v.app == Some(app));
    all.sort_by_key(|v| (v.created_at, v.id));
    Ok(all)
}

fn missing() -> Error {
    Error::not_found("volume", "Couldn't find that volume. The app's volumes: tidemill volumes")
}

/// One by name or id.
pub(crate) fn find(rows: &impl ReadRows, app: AppId, wanted: &str) -> Result<Volume> {
    of(rows, app)?.into_iter().find(|v| v.name == wanted || v.id.to_string() == wanted).ok_or_else(missing)
}

pub(crate) fn put(tx: &mut Tx, ctx: &Ctx, volume: &Volume) -> Result<()> {
    tx.put(&tables::VOLUMES, &volume.id, volume)?;
    tx.event(ctx.now, volume.app, ctx.origin(), EventBody::VolumeChanged { volume: volume.id })?;
    Ok(())
}

/// Takes the volumes of an app that is destroyed into the trash.
pub(crate) fn to_trash(tx: &mut Tx, ctx: &Ctx, app: AppId) -> Result<()> {
    for volume in of(tx, app)? {
        trash(tx, ctx, volume)?;
    }
    Ok(())
}

fn trash(tx: &mut Tx, ctx: &Ctx, volume: Volume) -> Result<Volume> {
    let row = Volume {
        app: None,
        trashed_at: Some(ctx.now),
        trashed_by: ctx.account(),
        places: Vec::new(),
        updated_at: ctx.now,
        ..volume
    };
    put(tx, ctx, &row)?;
    Ok(row)
}

/// Who sees a volume in the trash: who put it there, and who looks after the installation.
fn may_take(rows: &impl ReadRows, ctx: &Ctx, volume: &Volume) -> bool {
    let own = volume.trashed_by.is_some() && volume.trashed_by == ctx.account();
    own || access::check(rows, ctx, Action::ManagePeople, On::Platform).is_ok()
}

/// All dynos of an app with volumes have one user, for ever: the kernel knows owners by number.
fn give_user(rows: &impl ReadRows, app: &mut App) -> Result<()> {
    if app.volume_user.is_none() {
        let taken: BTreeSet<u32> = rows.scan(&tables::APPS, &())?.iter().filter_map(|a| a.volume_user).collect();
        app.volume_user = (FIRST_SLOT..).find(|slot| !taken.contains(slot));
    }
    Ok(())
}

/// Dynos see a change of places with their next release.
fn release(tx: &mut Tx, ctx: &Ctx, app: &mut App, description: String) -> Result<()> {
    let slug = current_slug(tx, app)?;
    add_release(tx, ctx, app, ReleaseDraft { config_version: None, description, slug })?;
    tx.put(&tables::APPS, &app.id, app)?;
    Ok(())
}

fn check_free(tx: &Tx, app: AppId, name: &str) -> Result<()> {
    volume::check_name(name).map_err(Error::invalid)?;
    let all = of(tx, app)?;
    if all.iter().any(|v| v.name == name) {
        return Err(Error::conflict(format!("The app has a volume {name} already; take another name.")));
    }
    if all.len() >= VOLUMES_PER_APP_MAX {
        return Err(Error::invalid(format!("An app can have {VOLUMES_PER_APP_MAX} volumes.")));
    }
    Ok(())
}

impl Service {
    /// Volumes of an app, oldest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn volumes(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Volume>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let all = of(self.store(), app.id)?;
        Ok((app, all))
    }

    /// One volume by name or id.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn volume(&self, ctx: &Ctx, app: &str, volume: &str) -> Result<Volume> {
        let app = self.app_for(ctx, Action::Read, app)?;
        find(self.store(), app.id, volume)
    }

    /// Volumes in the trash: those that the actor put there, all for admins. Each with when it is removed.
    ///
    /// # Errors
    /// `unauthorized`, `forbidden`.
    pub fn volume_trash(&self, ctx: &Ctx) -> Result<Vec<Volume>> {
        access::check(self.store(), ctx, Action::Account, On::Platform)?;
        let mut all = self.store().scan(&tables::VOLUMES, &())?;
        all.retain(|v| v.app.is_none() && may_take(self.store(), ctx, v));
        all.sort_by_key(|v| (v.trashed_at, v.id));
        Ok(all)
    }

    /// Makes a volume, or takes one out of the trash. Dynos do not see it before it is attached.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`, `conflict` for a name that is taken.
    pub async fn create_volume(&self, ctx: &Ctx, app: &str, new: NewVolume) -> Result<Volume> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        let ctx2 = ctx.clone();
        let made = self
            .store()
            .commit(move |tx| {
                let mut app = find_app(tx, &app.id.to_string())?;
                let base = match new.from_trash {
                    Some(id) => {
                        let row = tx.get(&tables::VOLUMES, &id)?.filter(|v| v.app.is_none() && may_take(tx, &ctx2, v));
                        row.ok_or_else(|| {
                            Error::not_found("volume", "That volume is not in your trash: tidemill volumes:list --trash")
                        })?
                    }
                    None => blank(&ctx2, new.name.clone().unwrap_or_default()),
                };
                let name = new.name.unwrap_or_else(|| base.name.clone());
                check_free(tx, app.id, &name)?;
                give_user(tx, &mut app)?;
                tx.put(&tables::APPS, &app.id, &app)?;
                let row = Volume {
                    app: Some(app.id),
                    app_name: app.name,
                    name,
                    size_bytes: new.size_bytes.or(base.size_bytes),
                    trashed_at: None,
                    trashed_by: None,
                    updated_at: ctx2.now,
                    ..base
                };
                put(tx, &ctx2, &row)?;
                Ok::<_, Error>(row)
            })
            .await?;
        let from = if new.from_trash.is_some() { "taken out of the trash" } else { "created" };
        made.app.into_iter().for_each(|app| self.log_action(app, ctx, &format!("Volume {} {from}", made.name)));
        Ok(made)
    }

    /// Shows a volume to dynos at a path, from the next release on, which this makes.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` for the path, `conflict` when something is there.
    pub async fn attach_volume(
        &self,
        ctx: &Ctx,
        app: &str,
        volume: &str,
        path: &str,
        process: Option<String>,
    ) -> Result<Volume> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        let path = volume::check_path(path).map_err(Error::invalid)?;
        if let Some(process) = process.as_ref().filter(|process| !names::is_process_type(process)) {
            return Err(Error::invalid(format!("{process:?} is no process type.")));
        }
        let (ctx2, wanted) = (ctx.clone(), volume.to_string());
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &app.id.to_string())?;
                let all = of(tx, app.id)?;
                let mut row = find(tx, app.id, &wanted)?;
                let places = all.iter().flat_map(|v| v.places.iter().map(move |place| (v, place)));
                for (other, place) in places {
                    if volume::overlap(&place.path, &path) {
                        let text = format!(
                            "Volume {} is at {}, which is in the way of {path}; take another path.",
                            other.name, place.path
                        );
                        return Err(Error::conflict(text));
                    }
                }
                let only = process.as_ref().map_or(String::new(), |p| format!(" of {p}"));
                let description = format!("Attach volume {} at {path}{only}", row.name);
                row.places.push(Place { path, process });
                row.updated_at = ctx2.now;
                put(tx, &ctx2, &row)?;
                release(tx, &ctx2, &mut app, description)?;
                Ok(row)
            })
            .await
    }

    /// Takes a volume from a path, or from all; makes a release.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict` when it is not there.
    pub async fn detach_volume(&self, ctx: &Ctx, app: &str, volume: &str, path: Option<String>) -> Result<Volume> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        let path = path.map(|path| volume::check_path(&path)).transpose().map_err(Error::invalid)?;
        let (ctx2, wanted) = (ctx.clone(), volume.to_string());
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &app.id.to_string())?;
                let mut row = find(tx, app.id, &wanted)?;
                let before = row.places.len();
                row.places.retain(|place| path.as_ref().is_some_and(|path| *path != place.path));
                if row.places.len() == before {
                    return Err(Error::conflict(format!("Volume {} is not attached there.", row.name)));
                }
                row.updated_at = ctx2.now;
                put(tx, &ctx2, &row)?;
                let from = path.map_or(String::new(), |path| format!(" from {path}"));
                let description = format!("Detach volume {}{from}", row.name);
                release(tx, &ctx2, &mut app, description)?;
                Ok(row)
            })
            .await
    }

    /// Puts a volume into the trash, where it stays for seven days.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict` while it is attached.
    pub async fn destroy_volume(&self, ctx: &Ctx, app: &str, volume: &str) -> Result<Volume> {
        let app = self.app_for(ctx, Action::Manage, app)?;
        let (ctx2, wanted, id) = (ctx.clone(), volume.to_string(), app.id);
        let gone = self
            .store()
            .commit(move |tx| {
                let row = find(tx, id, &wanted)?;
                if let Some(place) = row.places.first() {
                    let text = format!(
                        "Volume {} is attached at {}; detach it first: tidemill volumes:detach {}",
                        row.name, place.path, row.name
                    );
                    return Err(Error::conflict(text));
                }
                trash(tx, &ctx2, row)
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Volume {} put into the trash", gone.name));
        Ok(gone)
    }
}

fn blank(ctx: &Ctx, name: String) -> Volume {
    Volume {
        id: Uuid::new_v4(),
        app: None,
        app_name: String::new(),
        name,
        size_bytes: None,
        places: Vec::new(),
        trashed_by: None,
        trashed_at: None,
        restoring: None,
        created_at: ctx.now,
        updated_at: ctx.now,
    }
}
