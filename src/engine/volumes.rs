//! Folders of volumes: made and handed to dynos, copied into snapshots, put back, and removed when their time in the trash is
//! over. What is wanted stands in the rows.
//!
//! ```text
//! volumes/ID/data            what dynos see
//! volumes/ID/snapshots/ID    copies
//! volumes/ID/copy            a copy that is not whole
//! volumes/ID/restored        a whole copy of a snapshot that is to become `data`
//! volumes/ID/before-ID       what was `data` until then and is to become a snapshot
//! ```
//! Each step may be cut short by the end of the daemon and is done again by the next one.

use crate::Engine;
use domain::{
    App, Dyno, DynoKind, EventBody, Origin,
    volume::{Snapshot, SnapshotState, TRASH_MS, Volume},
};
use runtime::Mount;
use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};
use store::{ReadRows, StoreError, tables};
use uuid::Uuid;

/// Look again after this time even if nothing happened: for the trash, and after errors.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a dyno gets of the volumes of its app.
pub struct Volumes {
    /// One for each place.
    pub mounts: Vec<Mount>,
    /// Its number in the driver's pool of users: that of the app when there are mounts.
    pub user_slot: u32,
}

/// Makes the folders of the volumes that a dyno sees, and says where they go.
///
/// # Errors
/// A sentence for the log.
pub async fn of_dyno(engine: &Engine, dyno: &Dyno) -> Result<Volumes, String> {
    let parts = &engine.shared.parts;
    let app = parts.store.get(&tables::APPS, &dyno.app).map_err(|e| e.to_string())?;
    let Some(user_slot) = app.and_then(|app| app.volume_user) else {
        return Ok(Volumes { mounts: Vec::new(), user_slot: dyno.user_slot });
    };
    let mut all = parts.store.scan(&tables::VOLUMES, &()).map_err(|e| e.to_string())?;
    all.retain(|volume| volume.app == Some(dyno.app));
    let mut mounts = Vec::new();
    for volume in &all {
        let places = volume.places_for(&dyno.ptype, dyno.kind == DynoKind::OneOff);
        mounts.extend(places.map(|place| Mount {
            source: dir(engine, volume.id).join("data"),
            target: (&place.path).into(),
            writable: true,
            kept: true,
        }));
    }
    if mounts.is_empty() {
        return Ok(Volumes { mounts, user_slot: dyno.user_slot });
    }
    let (folders, owner): (Vec<PathBuf>, _) =
        (mounts.iter().map(|m| m.source.clone()).collect(), parts.runtime.host_user(user_slot));
    let made = tokio::task::spawn_blocking(move || {
        folders.iter().try_for_each(|folder| make(folder, owner).map_err(|e| format!("volume {}: {e}", folder.display())))
    });
    made.await.map_err(|e| e.to_string())??;
    Ok(Volumes { mounts, user_slot })
}

fn dir(engine: &Engine, volume: Uuid) -> PathBuf {
    engine.shared.parts.settings.volume_dir.join(volume.to_string())
}

/// A folder that belongs to the user of its app, with all in it: one that comes from the trash had another.
fn make(folder: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let Some(owner) = owner else { return Ok(()) };
    let meta = fs::symlink_metadata(folder)?;
    if (meta.uid(), meta.gid()) == owner { Ok(()) } else { builder::own_tree(folder, owner) }
}

/// Runs until the daemon ends.
pub async fn run(engine: Engine) {
    if let Err(e) = tell_of_unknown(&engine) {
        tracing::error!(error = %e, "engine.volumes_failed");
    }
    while !engine.is_closing() {
        let changed = engine.shared.volumes_changed.notified();
        if let Err(e) = turn(&engine).await {
            tracing::error!(error = %e, "engine.volumes_failed");
        }
        let _ = tokio::time::timeout(LOOK_EVERY, changed).await; // changed, or time to look
    }
}

/// Folders of volumes that no row names are left alone, so somebody has to know of them.
fn tell_of_unknown(engine: &Engine) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    for entry in fs::read_dir(&parts.settings.volume_dir).into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<Uuid>().ok()) else { continue };
        if parts.store.get(&tables::VOLUMES, &id)?.is_none() {
            tracing::warn!(folder = %entry.path().display(), "engine.volume_unknown: it stays; remove it by hand if nobody misses it");
        }
    }
    Ok(())
}

async fn turn(engine: &Engine) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    empty_trash(engine).await?;
    for volume in parts.store.scan(&tables::VOLUMES, &())? {
        for snapshot in parts.store.scan(&tables::SNAPSHOTS, &volume.id)? {
            if snapshot.state == SnapshotState::Pending {
                make_snapshot(engine, &volume, snapshot).await?;
            }
        }
        if let Some(wanted) = volume.restoring {
            put_back(engine, &volume, wanted).await?;
        }
    }
    sweep(engine).await
}

/// Removes the rows of volumes whose time in the trash is over, and then their folders.
async fn empty_trash(engine: &Engine) -> Result<(), StoreError> {
    let (store, now) = (&engine.shared.parts.store, engine.shared.parts.clock.now());
    for volume in store.scan(&tables::VOLUMES, &())? {
        if volume.trashed_at.is_none_or(|at| now.since_ms(at) < TRASH_MS) {
            continue;
        }
        tracing::info!(volume = %volume.id, name = %volume.name, app = %volume.app_name, "engine.volume_removed: seven days in the trash");
        let id = volume.id;
        let is_gone = store
            .commit(move |tx| {
                // Somebody may have taken it out meanwhile.
                let is_over = tx.get(&tables::VOLUMES, &id)?.is_some_and(|row| row.trashed_at == volume.trashed_at);
                if is_over {
                    tx.delete(&tables::VOLUMES, &id);
                    tx.delete_all(&tables::SNAPSHOTS, &id)?;
                    tx.event(now, None, Origin::default(), EventBody::VolumeChanged { volume: id })?;
                }
                Ok::<_, StoreError>(is_over)
            })
            .await?;
        if is_gone {
            remove(vec![dir(engine, id)]).await;
        }
    }
    Ok(())
}

/// What a copy would take, and whether the disk has it: the platform's own writes must not be the price of a copy.
fn check_room(engine: &Engine, from: &Path) -> io::Result<()> {
    let (bytes, free) = (builder::tree_bytes(from), crate::disk::free_bytes(&engine.shared.parts.settings.volume_dir)?);
    let reserve = engine.shared.parts.settings.disk_reserve_bytes;
    if free >= bytes.saturating_add(reserve) {
        return Ok(());
    }
    let text = format!(
        "a copy takes {} MiB, and the disk has {} MiB free with {} MiB in reserve",
        bytes >> 20,
        free >> 20,
        reserve >> 20
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, text))
}

/// Copies a folder by way of `copy`, so that what has its name is whole.
fn copy(engine: &Engine, volume: &Path, from: &Path, to: &Path) -> io::Result<u64> {
    let part = volume.join("copy");
    let removed = builder::remove_tree(&part).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) });
    removed?;
    check_room(engine, from)?;
    let copied = builder::copy_tree(from, &part).and_then(|bytes| {
        rustix::fs::syncfs(fs::File::open(&part)?)?;
        fs::rename(&part, to)?;
        Ok(bytes)
    });
    if copied.is_err() {
        let _ = builder::remove_tree(&part); // the error that counts is told
    }
    copied
}

async fn make_snapshot(engine: &Engine, volume: &Volume, mut row: Snapshot) -> Result<(), StoreError> {
    let (dir, id, own) = (dir(engine, volume.id), row.id.to_string(), engine.clone());
    let work = tokio::task::spawn_blocking(move || {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(dir.join("snapshots"))?;
        let (before, to) = (dir.join(format!("before-{id}")), dir.join("snapshots").join(id));
        if before.exists() {
            fs::rename(&before, &to)?; // it was the volume itself until a snapshot was put back
        }
        if to.exists() {
            return Ok(builder::tree_bytes(&to)); // whole, and only not written down
        }
        make(&dir.join("data"), None)?;
        copy(&own, &dir, &dir.join("data"), &to)
    });
    match work.await.map_err(io::Error::other).and_then(|done| done) {
        Ok(bytes) => (row.state, row.bytes) = (SnapshotState::Ready, Some(bytes)),
        Err(e) => {
            tracing::error!(error = %e, volume = %volume.id, "engine.snapshot_failed");
            (row.state, row.error) = (SnapshotState::Failed, Some(e.to_string()));
        }
    }
    let (now, app) = (engine.shared.parts.clock.now(), volume.app);
    let store = &engine.shared.parts.store;
    store
        .commit(move |tx| {
            let key = (row.volume, row.id);
            if tx.get(&tables::SNAPSHOTS, &key)?.is_some() {
                tx.put(&tables::SNAPSHOTS, &key, &row)?;
                tx.event(now, app, Origin::default(), EventBody::VolumeChanged { volume: row.volume })?;
            }
            Ok::<_, StoreError>(())
        })
        .await
}

/// The entry `before-ID`, if there is one.
fn moved_away(volume: &Path) -> Option<Uuid> {
    let entries = fs::read_dir(volume).ok()?.flatten();
    entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("before-")?.parse().ok()).next()
}

/// The snapshot becomes the volume, and the volume a snapshot. Dynos that run keep the folder they had until they are replaced.
fn exchange(engine: &Engine, volume: &Path, snapshot: &Path) -> io::Result<Uuid> {
    let (data, restored) = (volume.join("data"), volume.join("restored"));
    if let Some(id) = moved_away(volume) {
        if !data.exists() {
            fs::rename(&restored, &data)?;
        }
        return Ok(id);
    }
    if !restored.exists() {
        copy(engine, volume, snapshot, &restored)?;
    }
    make(&data, None)?;
    let id = Uuid::new_v4();
    fs::rename(&data, volume.join(format!("before-{id}")))?;
    fs::rename(&restored, &data)?;
    rustix::fs::syncfs(fs::File::open(volume)?)?;
    Ok(id)
}

async fn put_back(engine: &Engine, volume: &Volume, wanted: Uuid) -> Result<(), StoreError> {
    let (dir, own) = (dir(engine, volume.id), engine.clone());
    let work = tokio::task::spawn_blocking(move || exchange(&own, &dir, &dir.join("snapshots").join(wanted.to_string())));
    let done = work.await.map_err(io::Error::other).and_then(|done| done);
    let (now, id, app) = (engine.shared.parts.clock.now(), volume.id, volume.app);
    let text = match &done {
        Ok(_) => format!("Volume {} is as it was in the snapshot; its dynos are replaced", volume.name),
        Err(e) => format!("Volume {} could not be put back: {e}. It is as it was.", volume.name),
    };
    engine
        .shared
        .parts
        .store
        .commit(move |tx| {
            let Some(mut row) = tx.get(&tables::VOLUMES, &id)? else { return Ok(()) };
            let number = tx.get(&tables::SNAPSHOTS, &(id, wanted))?.map_or(0, |s| s.number);
            row.restoring = None;
            row.updated_at = now;
            tx.put(&tables::VOLUMES, &id, &row)?;
            tx.event(now, row.app, Origin::default(), EventBody::VolumeChanged { volume: id })?;
            let Ok(before) = done else { return Ok(()) };
            let next = tx.scan(&tables::SNAPSHOTS, &id)?.iter().map(|s| s.number).max().unwrap_or(0) + 1;
            let kept = Snapshot {
                id: before,
                volume: id,
                number: next,
                state: SnapshotState::Pending,
                description: format!("before s{number} was put back"),
                bytes: None,
                error: None,
                created_at: now,
            };
            tx.put(&tables::SNAPSHOTS, &(id, before), &kept)?;
            let app: Option<App> = row.app.map(|app| tx.get(&tables::APPS, &app)).transpose()?.flatten();
            if let Some(mut app) = app.filter(|_| !row.places.is_empty()) {
                app.generation += 1;
                tx.put(&tables::APPS, &app.id, &app)?;
                tx.event(now, Some(app.id), Origin::default(), EventBody::RestartRequested)?;
            }
            Ok::<_, StoreError>(())
        })
        .await?;
    app.into_iter().for_each(|app| engine.shared.parts.logs.app(app).write("app", "api", text.clone()));
    Ok(())
}

/// Removes snapshots that no row names. A volume that no row names stays: the rows may be older than it, as after a step
/// back to a former store, and nobody else has its data.
async fn sweep(engine: &Engine) -> Result<(), StoreError> {
    let store = &engine.shared.parts.store;
    let root = engine.shared.parts.settings.volume_dir.clone();
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let id = |path: &Path| path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<Uuid>().ok());
    let mut gone = Vec::new();
    for folder in entries(&root) {
        let Some(volume) = id(&folder) else { continue };
        if store.get(&tables::VOLUMES, &volume)?.is_none() {
            continue;
        }
        let known: HashSet<Uuid> = store.scan(&tables::SNAPSHOTS, &volume)?.iter().map(|s| s.id).collect();
        gone.extend(
            entries(&folder.join("snapshots")).into_iter().filter(|path| id(path).is_some_and(|id| !known.contains(&id))),
        );
    }
    remove(gone).await;
    Ok(())
}

async fn remove(gone: Vec<PathBuf>) {
    let removed = tokio::task::spawn_blocking(move || {
        for path in gone {
            if let Err(e) = builder::remove_tree(&path) {
                tracing::warn!(error = %e, path = %path.display(), "engine.volume_files_left");
            }
        }
    });
    let _ = removed.await; // only a panic could be told, and it is in the log
}
