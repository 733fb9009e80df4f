//! Containers of this platform that nobody knows: left by a removal that failed, or of a row that is gone. They are removed
//! after a grace, since one that is just being made or taken back is not known yet.

use super::{
    Cage, DYNO_LABEL, INSTANCE_LABEL,
    engine::{Engine, gone, status},
};
use bollard::{
    Docker,
    errors::Error,
    query_parameters::{
        ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    },
};
use domain::DynoId;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// A container that is being removed is asked for again after this time.
const AGAIN: Duration = Duration::from_millis(100);
const TRIES: u32 = 100;

/// What happens to containers of this platform that nobody knows.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// They may be unknown for this long.
    pub grace: Duration,
    /// Only say what would be removed.
    pub dry_run: bool,
}

type Cages = Mutex<HashMap<DynoId, std::sync::Arc<Cage>>>;

/// Begins to look after them.
pub fn begin(sweep: Sweep, engine: Weak<Engine>, instance: String, cages: Weak<Cages>) {
    tokio::spawn(async move {
        let mut unknown_since: HashMap<DynoId, Instant> = HashMap::new();
        let mut told = HashSet::new();
        loop {
            sleep(sweep.grace / 4).await;
            let (Some(engine), Some(cages)) = (engine.upgrade(), cages.upgrade()) else { return };
            let Ok(docker) = engine.docker() else { continue };
            let Ok(mut found) = everything(&docker, &instance).await else { continue };
            {
                let known = cages.lock().unwrap_or_else(PoisonError::into_inner);
                found.retain(|id| !known.contains_key(id));
            }
            unknown_since.retain(|id, _| found.contains(id));
            for id in found {
                if unknown_since.entry(id).or_insert_with(Instant::now).elapsed() < sweep.grace {
                    continue;
                }
                if sweep.dry_run {
                    if told.insert(id) {
                        tracing::warn!(dyno = %id, "runtime.sweep: nobody knows this container or volume; it would be removed but for the dry run");
                    }
                    continue;
                }
                tracing::warn!(dyno = %id, "runtime.sweep: nobody knows this container or volume; it is removed");
                if let Err(e) = remove_all(&docker, &instance, id).await {
                    tracing::warn!(dyno = %id, error = %e, "runtime.sweep_failed: trying again later");
                }
            }
        }
    });
}

fn labels(instance: &str, dyno: Option<DynoId>) -> HashMap<String, Vec<String>> {
    let dyno = dyno.map_or_else(|| DYNO_LABEL.to_string(), |id| format!("{DYNO_LABEL}={id}"));
    HashMap::from([("label".to_string(), vec![dyno, format!("{INSTANCE_LABEL}={instance}")])])
}

/// Dynos of which a container or a volume is there.
async fn everything(docker: &Docker, instance: &str) -> Result<HashSet<DynoId>, Error> {
    let filters = labels(instance, None);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let containers = docker.list_containers(Some(options)).await?;
    let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let volumes = docker.list_volumes(Some(options)).await?.volumes.unwrap_or_default();
    let labels = containers.into_iter().filter_map(|c| c.labels).chain(volumes.into_iter().map(|v| v.labels));
    Ok(labels.filter_map(|labels| labels.get(DYNO_LABEL)?.parse().ok()).collect())
}

/// Removes containers and volumes of a dyno.
pub async fn remove_all(docker: &Docker, instance: &str, id: DynoId) -> Result<(), Error> {
    for container in [super::name(id), super::filler(id)] {
        remove(docker, &container).await?;
    }
    let options = ListVolumesOptionsBuilder::default().filters(&labels(instance, Some(id))).build();
    for volume in docker.list_volumes(Some(options)).await?.volumes.unwrap_or_default() {
        gone(docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await)?;
    }
    Ok(())
}

/// Removes a container with what runs in it; returns when it is gone.
pub async fn remove(docker: &Docker, container: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    for _ in 0..TRIES {
        match docker.remove_container(container, Some(options.clone())).await {
            Err(e) if status(&e) == Some(404) => return Ok(()),
            // Somebody removes it just now.
            Err(e) if status(&e) == Some(409) => sleep(AGAIN).await,
            other => return other,
        }
    }
    docker.remove_container(container, Some(options)).await
}
