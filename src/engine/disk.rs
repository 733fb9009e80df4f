//! Keeps dynos from filling the disk of the host: when it is almost full, those that wrote most are ended. Nobody can say
//! beforehand how much an app may write under `/app` and `/tmp`; what counts is that the platform and the neighbours go on.

use crate::{Engine, dynos};
use domain::{Dyno, DynoState};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};
use store::{ReadRows, tables};

/// Free space is looked at this often; one system call.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A dyno that was ended is gone within this time, however much it wrote.
const GONE_LIMIT: Duration = Duration::from_secs(60);
/// A dyno that wrote less is never the one to blame.
const INNOCENT_BYTES: u64 = 256 << 20;

/// Runs until the daemon ends.
pub async fn watch(engine: Engine) {
    let reserve = engine.shared.parts.settings.disk_reserve_bytes;
    let dir = engine.shared.parts.settings.dyno_dir.clone();
    while reserve > 0 && !engine.is_closing() {
        tokio::time::sleep(LOOK_EVERY).await;
        if free_bytes(&dir).is_ok_and(|free| free < reserve)
            && let Err(e) = end_the_largest(&engine).await
        {
            tracing::error!(error = %e, "engine.disk_guard");
        }
    }
}

/// What is free for the daemon on the disk of a folder.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Ends the dyno with the largest folder, and waits until its folder is gone.
async fn end_the_largest(engine: &Engine) -> Result<(), store::StoreError> {
    let parts = &engine.shared.parts;
    let live = |d: &Dyno| matches!(d.state, DynoState::Starting | DynoState::Up | DynoState::Stopping);
    let rows: Vec<Dyno> = parts.store.scan(&tables::DYNOS, &())?.into_iter().filter(live).collect();
    let mut places: Vec<(PathBuf, Option<i32>)> = Vec::new();
    for dyno in &rows {
        let pid = parts.runtime.inspect(dyno.id).await.ok().and_then(|cage| cage.pid);
        places.push((dynos::home(engine, dyno), pid));
    }
    let measure = |(home, pid): &(PathBuf, Option<i32>)| written_bytes(home) + pid.map_or(0, nameless_bytes);
    let measured = tokio::task::spawn_blocking(move || places.iter().map(measure).collect::<Vec<_>>()).await;
    let Ok(sizes) = measured else { return Ok(()) };
    let Some((dyno, bytes)) = rows.iter().zip(sizes).max_by_key(|(_, bytes)| *bytes).filter(|(_, b)| *b >= INNOCENT_BYTES)
    else {
        tracing::warn!("engine.disk_low: the disk is almost full, and not by dynos");
        return Ok(());
    };
    tracing::warn!(dyno = %dyno.id, bytes, "engine.disk_hog: the disk is almost full, and this dyno wrote most");
    let text = format!("The disk of the server is almost full and this dyno wrote most: {} MB in /app and /tmp", bytes >> 20);
    let log = parts.logs.app(dyno.app);
    log.write("heroku", &dyno.name(), text);
    log.write("heroku", &dyno.name(), "Stopping process with SIGKILL");
    let _ = parts.runtime.stop(dyno.id, 0).await; // ended by itself is as good
    // Its own task removes the folder; until then nobody else is to blame.
    let home = dynos::home(engine, dyno);
    let limit = tokio::time::Instant::now() + GONE_LIMIT;
    while home.exists() && tokio::time::Instant::now() < limit {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Bytes of files without a name that a process in the same pid name space as `pid` holds open: a tenant can write those,
/// too, and no folder shows them.
fn nameless_bytes(pid: i32) -> u64 {
    let space = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let Some(own) = space(Path::new(&format!("/proc/{pid}"))) else { return 0 };
    let mut found: HashMap<(u64, u64), u64> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|e| e.path());
    for process in processes.filter(|process| space(process).as_ref() == Some(&own)) {
        for file in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            if let Ok(meta) = fs::metadata(file.path())
                && meta.is_file()
                && meta.nlink() == 0
            {
                found.insert((meta.dev(), meta.ino()), meta.blocks() * 512);
            }
        }
    }
    found.values().sum()
}

/// Bytes on the disk below a folder. What vanishes meanwhile does not count.
fn written_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => written_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}
