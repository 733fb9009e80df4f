//! Persistent volumes and their snapshots; ours.

use crate::{
    Api, Out,
    answer::{Body, accepted, created, ok},
    auth::User,
    list,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use domain::{
    UnixMs,
    volume::{Snapshot, TRASH_MS, Volume},
};
use serde::Deserialize;
use service::{NewVolume, Service};
use uuid::Uuid;
use wire::{NameRef, VolumePlace, VolumeSnapshot, time};

routes! {
    get "/apps/{app}/volumes" => volumes, "read";
    post "/apps/{app}/volumes" => create, "write";
    get "/apps/{app}/volumes/{volume}" => volume, "read";
    delete "/apps/{app}/volumes/{volume}" => destroy, "manage";
    post "/apps/{app}/volumes/{volume}/actions/attach" => attach, "write";
    post "/apps/{app}/volumes/{volume}/actions/detach" => detach, "write";
    get "/apps/{app}/volumes/{volume}/snapshots" => snapshots, "read";
    post "/apps/{app}/volumes/{volume}/snapshots" => snapshot, "write";
    delete "/apps/{app}/volumes/{volume}/snapshots/{snapshot}" => remove_snapshot, "manage";
    post "/apps/{app}/volumes/{volume}/snapshots/{snapshot}/actions/restore" => restore, "write";
    get "/volumes/trash" => trash, "account";
}

fn shown(service: &Service, row: &Volume) -> Result<wire::Volume, service::Error> {
    let app = row.app.map(|id| service.app_by_id(id)).transpose()?.flatten();
    let state = match (row.trashed_at, row.restoring) {
        (Some(_), _) => "trash",
        (None, Some(_)) => "restoring",
        (None, None) => "ready",
    };
    let place = |p: &domain::volume::Place| VolumePlace { path: p.path.clone(), process: p.process.clone() };
    Ok(wire::Volume {
        id: row.id,
        name: row.name.clone(),
        app_name: app.as_ref().map_or(&row.app_name, |(_, name)| name).clone(),
        app: app.map(|(id, name)| NameRef { id: id.0, name }),
        size_bytes: row.size_bytes,
        attachments: row.places.iter().map(place).collect(),
        state: state.into(),
        trashed_at: row.trashed_at.map(|at| time(at.0)),
        removed_at: row.trashed_at.map(|UnixMs(at)| time(at.saturating_add(TRASH_MS))),
        created_at: time(row.created_at.0),
        updated_at: time(row.updated_at.0),
    })
}

fn shown_snapshot(volume: &Volume, row: &Snapshot) -> VolumeSnapshot {
    VolumeSnapshot {
        id: row.id,
        name: format!("s{}", row.number),
        number: row.number,
        volume: NameRef { id: volume.id, name: volume.name.clone() },
        state: row.state.as_str().into(),
        description: row.description.clone(),
        bytes: row.bytes,
        error: row.error.clone(),
        created_at: time(row.created_at.0),
    }
}

#[derive(Deserialize)]
struct Create {
    name: Option<String>,
    size_bytes: Option<u64>,
    from_trash: Option<Uuid>,
}

#[derive(Deserialize)]
struct Attach {
    path: String,
    process: Option<String>,
}

#[derive(Deserialize)]
struct Detach {
    path: Option<String>,
}

async fn volumes(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (_, rows) = service.volumes(&ctx, &app)?;
    let all = rows.iter().map(|row| shown(&service, row)).collect::<Result<Vec<_>, _>>()?;
    list::page(&headers, &all, &["name", "id", "created_at"])
}

async fn volume(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    Ok(ok(shown(&service, &service.volume(&ctx, &app, &name)?)?)?.into_response())
}

async fn create(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Create>) -> Out {
    let new = NewVolume { name: body.name, size_bytes: body.size_bytes, from_trash: body.from_trash };
    let made = service.create_volume(&ctx, &app, new).await?;
    Ok(created(shown(&service, &made)?)?.into_response())
}

async fn destroy(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    Ok(ok(shown(&service, &service.destroy_volume(&ctx, &app, &name).await?)?)?.into_response())
}

async fn attach(
    State(service): Api,
    User(ctx): User,
    Path((app, name)): Path<(String, String)>,
    Body(body): Body<Attach>,
) -> Out {
    let row = service.attach_volume(&ctx, &app, &name, &body.path, body.process).await?;
    Ok(ok(shown(&service, &row)?)?.into_response())
}

async fn detach(
    State(service): Api,
    User(ctx): User,
    Path((app, name)): Path<(String, String)>,
    Body(body): Body<Detach>,
) -> Out {
    Ok(ok(shown(&service, &service.detach_volume(&ctx, &app, &name, body.path).await?)?)?.into_response())
}

async fn snapshots(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>, headers: HeaderMap) -> Out {
    let volume = service.volume(&ctx, &app, &name)?;
    let rows = service.snapshots(&ctx, &app, &name)?;
    let all: Vec<_> = rows.iter().map(|row| shown_snapshot(&volume, row)).collect();
    list::page(&headers, &all, &["number", "id", "created_at"])
}

async fn snapshot(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    let row = service.snapshot_volume(&ctx, &app, &name).await?;
    Ok(created(shown_snapshot(&service.volume(&ctx, &app, &name)?, &row))?.into_response())
}

async fn remove_snapshot(
    State(service): Api,
    User(ctx): User,
    Path((app, name, snapshot)): Path<(String, String, String)>,
) -> Out {
    let volume = service.volume(&ctx, &app, &name)?;
    let row = service.remove_snapshot(&ctx, &app, &name, &snapshot).await?;
    Ok(ok(shown_snapshot(&volume, &row))?.into_response())
}

async fn restore(State(service): Api, User(ctx): User, Path((app, name, snapshot)): Path<(String, String, String)>) -> Out {
    let row = service.restore_volume(&ctx, &app, &name, &snapshot).await?;
    Ok(accepted(shown(&service, &row)?)?.into_response())
}

async fn trash(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let rows = service.volume_trash(&ctx)?;
    let all = rows.iter().map(|row| shown(&service, row)).collect::<Result<Vec<_>, _>>()?;
    list::page(&headers, &all, &["name", "id", "created_at"])
}
