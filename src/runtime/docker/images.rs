//! Which image a cage runs on, and the volumes that all cages share: PID 1, and what tells an app its quota.

use super::{
    INSTANCE_LABEL,
    engine::{Engine, UPLOAD_LIMIT, gone, status},
    upload::{self, Owner, Part},
};
use crate::{Root, RuntimeError};
use bollard::{
    Docker,
    errors::Error,
    models::{ContainerCreateBody, HostConfig, ImageConfig, Mount, MountType, VolumeCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder,
    },
};
use futures_util::{Stream, StreamExt};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of images made of imported root file systems.
const STACK: &str = "tidemill-stack";
/// Where PID 1 is in a container.
pub const INIT_DIR: &str = "/.tidemill";
/// Built by `build.rs`.
static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
/// Says that a volume has its content. A volume without it is filled again.
const FILLED: &str = "filled";

/// What a container is made of.
pub struct Image {
    /// Name for the engine.
    pub name: String,
    /// Set when it is run as it says.
    pub own: Option<ImageConfig>,
}

/// Images and shared volumes of one platform.
pub struct Images {
    engine: Arc<Engine>,
    instance: String,
    notes: PathBuf,
    /// For [`Root::Host`].
    base: Option<String>,
    /// One import, pull or filling at a time; who waits finds it done.
    turn: tokio::sync::Mutex<()>,
}

fn failed(what: &str) -> impl Fn(Error) -> RuntimeError {
    move |e| RuntimeError::Start(format!("{what}: {e}"))
}

impl Images {
    /// `notes`: a folder for what has been filled.
    pub fn new(engine: Arc<Engine>, instance: String, notes: PathBuf, base: Option<String>) -> Self {
        Self { engine, instance, notes, base, turn: tokio::sync::Mutex::default() }
    }

    /// The image for a root; imported or pulled when it is not there.
    pub async fn resolve(&self, root: &Root) -> Result<Image, RuntimeError> {
        let docker = self.engine.docker()?;
        match root {
            Root::Host => {
                let none = "there is no base image for dynos; import a stack, or set docker_image to an image of the engine";
                let name = self.base.clone().ok_or_else(|| RuntimeError::Start(none.into()))?;
                self.find(&docker, &name).await?;
                Ok(Image { name, own: None })
            }
            Root::Imported(folder) => {
                let id = stack_id(folder)?;
                let name = format!("{STACK}:{id}");
                let _turn = self.turn.lock().await;
                if !is_there(docker.inspect_image(&name).await)? {
                    import(&docker, folder, &id).await?;
                }
                Ok(Image { name, own: None })
            }
            Root::Image(name) => {
                let config = self.find(&docker, name).await?;
                Ok(Image { name: name.clone(), own: Some(config) })
            }
        }
    }

    async fn find(&self, docker: &Docker, name: &str) -> Result<ImageConfig, RuntimeError> {
        let _turn = self.turn.lock().await;
        let config = |found: bollard::models::ImageInspect| found.config.unwrap_or_default();
        match docker.inspect_image(name).await {
            Ok(found) => return Ok(config(found)),
            Err(e) if status(&e) == Some(404) => {}
            Err(e) => return Err(failed(name)(e)),
        }
        let options = CreateImageOptionsBuilder::default().from_image(&with_tag(name)).build();
        let docker = docker.clone().with_timeout(UPLOAD_LIMIT);
        finish(docker.create_image(Some(options), None, None)).await.map_err(failed(&format!("pull {name}")))?;
        docker.inspect_image(name).await.map(config).map_err(failed(name))
    }

    /// The volume with PID 1 in it.
    pub async fn init_volume(&self, image: &str) -> Result<String, RuntimeError> {
        let init = Part::File { target: "init".into(), content: INIT.to_vec(), mode: 0o755 };
        self.volume(&format!("init-{:08x}", checksum(INIT)), image, INIT_DIR, init).await
    }

    /// The volume that is seen as `/sys/fs/cgroup`: on either version of control groups, an app finds its quota where buildpack
    /// scripts look for it (`runtime.md` section 4).
    pub async fn quota_volume(&self, image: &str, bytes: u64) -> Result<String, RuntimeError> {
        let content = format!("{bytes}\n").into_bytes();
        let file = Part::File { target: "memory/memory.limit_in_bytes".into(), content, mode: 0o444 };
        self.volume(&format!("quota-{bytes}"), image, "/sys/fs/cgroup", file).await
    }

    /// A volume of this platform with this file, made when it is not there. Only a container's volume can be filled, so one
    /// is made for it that is never started.
    async fn volume(&self, name: &str, image: &str, at: &str, file: Part) -> Result<String, RuntimeError> {
        let docker = self.engine.docker()?;
        let name = format!("tidemill-{}-{name}", self.instance);
        let note = self.notes.join(format!("{name}.{FILLED}"));
        let io = |e: std::io::Error| RuntimeError::Io(format!("{}: {e}", note.display()));
        let _turn = self.turn.lock().await;
        if note.exists() && is_there(docker.inspect_volume(&name).await)? {
            return Ok(name);
        }
        let labels = HashMap::from([(INSTANCE_LABEL.to_string(), self.instance.clone())]);
        let request = VolumeCreateRequest { name: Some(name.clone()), labels: Some(labels.clone()), ..Default::default() };
        docker.create_volume(request).await.map_err(failed(&name))?;
        let filler = format!("{name}-filler");
        let remove = || docker.remove_container(&filler, Some(RemoveContainerOptionsBuilder::default().force(true).build()));
        gone(remove().await).map_err(failed(&filler))?; // left by a start that was cut short
        let mount =
            Mount { target: Some(at.into()), source: Some(name.clone()), typ: Some(MountType::VOLUME), ..Mount::default() };
        let body = ContainerCreateBody {
            image: Some(image.into()),
            cmd: Some(vec!["never".into()]),
            labels: Some(labels),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                network_mode: Some("none".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&filler).build();
        docker.create_container(Some(options), body).await.map_err(failed(&filler))?;
        let body = bollard::body_try_stream(upload::archive(vec![file]));
        let filled = docker.upload_to_container(&filler, Some(upload::to(at)), body).await;
        gone(remove().await).map_err(failed(&filler))?;
        filled.map_err(failed(&name))?;
        fs::write(&note, "").map_err(io)?;
        Ok(name)
    }

    /// Is this container there?
    pub async fn container(docker: &Docker, name: &str) -> Result<bool, RuntimeError> {
        is_there(docker.inspect_container(name, None::<InspectContainerOptions>).await)
    }
}

fn is_there<T>(result: Result<T, Error>) -> Result<bool, RuntimeError> {
    match result {
        Ok(_) => Ok(true),
        Err(e) if status(&e) == Some(404) => Ok(false),
        Err(e) => Err(RuntimeError::Io(e.to_string())),
    }
}

/// Without a tag the engine would pull all of them.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.into() } else { format!("{name}:latest") }
}

/// The id of an imported root stands beside it, and makes the tag of its image.
fn stack_id(folder: &Path) -> Result<String, RuntimeError> {
    let file = folder.with_file_name("id");
    let id = fs::read_to_string(&file).map_err(|e| RuntimeError::Start(format!("{}: {e}", file.display())))?;
    let tag: String = id.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(120).collect();
    if tag.is_empty() { Err(RuntimeError::Start(format!("{} is empty", file.display()))) } else { Ok(tag) }
}

async fn import(docker: &Docker, folder: &Path, tag: &str) -> Result<(), RuntimeError> {
    tracing::info!(folder = %folder.display(), "runtime.stack_import: making an image of the stack");
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(STACK).tag(tag).build();
    let body = bollard::body_try_stream(upload::archive(vec![Part::Folder {
        source: folder.into(),
        target: ".".into(),
        owner: Owner::Same,
    }]));
    let docker = docker.clone().with_timeout(UPLOAD_LIMIT);
    finish(docker.create_image(Some(options), Some(body), None)).await.map_err(failed("import the stack"))
}

async fn finish<T>(news: impl Stream<Item = Result<T, Error>>) -> Result<(), Error> {
    let mut news = std::pin::pin!(news);
    while let Some(item) = news.next().await {
        item?;
    }
    Ok(())
}

/// FNV-1a: tells one version of a file from another.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_is_pulled() {
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(with_tag("registry:5000/shop"), "registry:5000/shop:latest");
        assert_eq!(with_tag("registry:5000/shop:3"), "registry:5000/shop:3");
        assert_eq!(with_tag("shop@sha256:ab"), "shop@sha256:ab");
    }
}
