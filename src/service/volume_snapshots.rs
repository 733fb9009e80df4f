//! Snapshots of volumes. The rows say what is wanted, the engine copies.

use crate::{
    Action, Ctx, Error, Result, Service, find_app,
    volumes::{find, put},
};
use domain::{
    EventBody,
    volume::{SNAPSHOTS_MAX, Snapshot, SnapshotState, Volume},
};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// Snapshots of a volume, oldest first.
fn of(rows: &impl ReadRows, volume: Uuid) -> Result<Vec<Snapshot>> {
    let mut all = rows.scan(&tables::SNAPSHOTS, &volume)?;
    all.sort_by_key(|s| s.number);
    Ok(all)
}

/// By `s3`, `3` or id.
fn pick(all: &[Snapshot], wanted: &str) -> Result<Snapshot> {
    let number = wanted.strip_prefix('s').unwrap_or(wanted).parse::<u64>().ok();
    let found = all.iter().find(|s| s.id.to_string() == wanted || Some(s.number) == number);
    found
        .cloned()
        .ok_or_else(|| Error::not_found("snapshot", "Couldn't find that snapshot. There are: tidemill volumes:snapshots NAME"))
}

/// Writes down a snapshot that is to be made.
fn add_snapshot(tx: &mut Tx, ctx: &Ctx, volume: &Volume, description: String) -> Result<Snapshot> {
    let all = of(tx, volume.id)?;
    if all.len() >= SNAPSHOTS_MAX {
        let text = format!(
            "Volume {} has {SNAPSHOTS_MAX} snapshots; remove one first: tidemill volumes:snapshots:destroy",
            volume.name
        );
        return Err(Error::invalid(text));
    }
    let row = Snapshot {
        id: Uuid::new_v4(),
        volume: volume.id,
        number: all.last().map_or(1, |last| last.number + 1),
        state: SnapshotState::Pending,
        description,
        bytes: None,
        error: None,
        created_at: ctx.now,
    };
    tx.put(&tables::SNAPSHOTS, &(row.volume, row.id), &row)?;
    tx.event(ctx.now, volume.app, ctx.origin(), EventBody::VolumeChanged { volume: volume.id })?;
    Ok(row)
}

impl Service {
    /// Snapshots of a volume, oldest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn snapshots(&self, ctx: &Ctx, app: &str, volume: &str) -> Result<Vec<Snapshot>> {
        of(self.store(), self.volume(ctx, app, volume)?.id)
    }

    /// Asks for a snapshot; it is made in a moment.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` when there are too many.
    pub async fn snapshot_volume(&self, ctx: &Ctx, app: &str, volume: &str) -> Result<Snapshot> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        let (ctx2, wanted) = (ctx.clone(), volume.to_string());
        self.store()
            .commit(move |tx| {
                let row = find(tx, app.id, &wanted)?;
                add_snapshot(tx, &ctx2, &row, format!("by {}", ctx2.email()))
            })
            .await
    }

    /// Removes a snapshot; its files go in a moment.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict` while it is put back.
    pub async fn remove_snapshot(&self, ctx: &Ctx, app: &str, volume: &str, snapshot: &str) -> Result<Snapshot> {
        let app = self.app_for(ctx, Action::Manage, app)?;
        let (ctx2, wanted, snapshot) = (ctx.clone(), volume.to_string(), snapshot.to_string());
        self.store()
            .commit(move |tx| {
                let row = find(tx, app.id, &wanted)?;
                let gone = pick(&of(tx, row.id)?, &snapshot)?;
                if row.restoring == Some(gone.id) {
                    return Err(Error::conflict("This snapshot is being put back; try again in a moment."));
                }
                tx.delete(&tables::SNAPSHOTS, &(row.id, gone.id));
                tx.event(ctx2.now, row.app, ctx2.origin(), EventBody::VolumeChanged { volume: row.id })?;
                Ok(gone)
            })
            .await
    }

    /// Asks for a volume to be as it was in a snapshot. What it holds now is kept as another snapshot, and the dynos of its app
    /// are replaced when it is done.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict` while one is put back or when the snapshot is not ready.
    pub async fn restore_volume(&self, ctx: &Ctx, app: &str, volume: &str, snapshot: &str) -> Result<Volume> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        let (ctx2, wanted, snapshot) = (ctx.clone(), volume.to_string(), snapshot.to_string());
        let id = app.id;
        let row = self
            .store()
            .commit(move |tx| {
                find_app(tx, &id.to_string())?;
                let mut row = find(tx, id, &wanted)?;
                let all = of(tx, row.id)?;
                let chosen = pick(&all, &snapshot)?;
                if row.restoring.is_some() {
                    return Err(Error::conflict("A snapshot is being put back already; try again in a moment."));
                }
                if chosen.state != SnapshotState::Ready {
                    return Err(Error::conflict(format!(
                        "Snapshot s{} is {}; take another.",
                        chosen.number,
                        chosen.state.as_str()
                    )));
                }
                row.restoring = Some(chosen.id);
                row.updated_at = ctx2.now;
                put(tx, &ctx2, &row)?;
                Ok::<_, Error>(row)
            })
            .await?;
        self.log_action(id, ctx, &format!("Volume {} is put back to a snapshot", row.name));
        Ok(row)
    }
}
