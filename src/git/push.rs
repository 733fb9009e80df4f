//! The daemon's side of a push: what deploys, the build, and the way back to the pusher.

use crate::hook::{ACCEPTED, Hello, Order, REFUSED};
use domain::{AppId, BuildId, BuildStatus, SourceBlob, limits::TREE_ENTRIES_MAX};
use service::{Ctx, NewBuild, Service};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::OwnedMutexGuard,
};

/// Refs that deploy (`git-contract.md` section 4); of two in one push the first wins.
const DEPLOYED: [&str; 2] = ["refs/heads/main", "refs/heads/master"];
const ZERO: &str = "0000000000000000000000000000000000000000";
/// Longest first line of a hook: a push of many refs.
const HELLO_BYTES_MAX: u64 = 4 << 20;

/// Sizes that a push may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest pack.
    pub push_bytes_max: u64,
    /// Largest tree, unpacked: a small pack can unpack to any size.
    pub tree_bytes_max: u64,
}

/// Takes pushes.
#[derive(Clone)]
pub struct Receiver {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub service: Service,
    pub repositories: PathBuf,
    /// Folder with the `pre-receive` link.
    pub hooks: PathBuf,
    pub socket: PathBuf,
    pub limits: Limits,
    pushes: Mutex<HashMap<String, Push>>,
    turns: Mutex<HashMap<AppId, Arc<tokio::sync::Mutex<()>>>>,
}

/// A push in progress.
struct Push {
    ctx: Ctx,
    app: AppId,
    /// Held until `git receive-pack` has moved the ref, so that no other push of the app is in between.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Receiver {
    /// Prepares the hook folder and starts listening on the hook socket.
    ///
    /// # Errors
    /// When folder or socket can not be made.
    pub fn start(service: Service, repositories: &Path, run_dir: &Path, limits: Limits) -> io::Result<Self> {
        let hooks = run_dir.join("hooks");
        std::fs::create_dir_all(&hooks)?;
        let link = hooks.join("pre-receive");
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(std::env::current_exe()?, &link)?;
        let socket = run_dir.join("hook.sock");
        if socket.exists() {
            std::fs::remove_file(&socket)?; // left by a daemon that was killed
        }
        let listener = UnixListener::bind(&socket)?;
        let inner = Inner {
            service,
            repositories: repositories.to_path_buf(),
            hooks,
            socket,
            limits,
            pushes: Mutex::default(),
            turns: Mutex::default(),
        };
        let receiver = Self { inner: Arc::new(inner) };
        tokio::spawn(receiver.clone().listen(listener));
        Ok(receiver)
    }

    fn pushes(&self) -> MutexGuard<'_, HashMap<String, Push>> {
        self.inner.pushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push begins; returns its name for the hook.
    pub(crate) fn begin(&self, ctx: Ctx, app: AppId) -> String {
        let name = uuid::Uuid::new_v4().to_string();
        self.pushes().insert(name.clone(), Push { ctx, app, turn: None });
        name
    }

    /// `git receive-pack` has ended.
    pub(crate) fn end(&self, push: &str) {
        self.pushes().remove(push);
    }

    async fn listen(self, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let receiver = self.clone();
            tokio::spawn(async move {
                if let Err(e) = receiver.serve(stream).await {
                    tracing::warn!(error = %e, "git.hook_failed");
                }
            });
        }
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        (&mut reader).take(HELLO_BYTES_MAX).read_line(&mut line).await?;
        let hello: Hello = serde_json::from_str(&line).map_err(io::Error::other)?;
        let known = self.pushes().get(&hello.push).map(|p| (p.ctx.clone(), p.app));
        let Some((ctx, app)) = known else { return Err(io::Error::other("unknown push")) };
        let accepted = self.decide(&hello, ctx, app, &mut reader, &mut writer).await?;
        writer.write_all(&[if accepted { ACCEPTED } else { REFUSED }]).await?;
        writer.shutdown().await
    }

    /// True when the refs may move.
    async fn decide(
        &self,
        hello: &Hello,
        ctx: Ctx,
        app: AppId,
        reader: &mut (impl tokio::io::AsyncRead + Unpin),
        writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        let wanted = DEPLOYED.iter().find_map(|name| hello.refs.iter().find(|(_, _, n)| n == name));
        let Some((old, new, name)) = wanted else {
            order(writer, None).await?;
            if hello.refs.iter().any(|(_, _, n)| n.starts_with("refs/heads/")) {
                writer.write_all(b"Pushed to branch other than [main, master], skipping build.\n").await?;
            }
            return Ok(true);
        };
        if new == ZERO {
            order(writer, None).await?;
            writer.write_all(b" !     Push rejected, cannot delete master branch\n").await?;
            return Ok(false);
        }
        order(writer, Some(new.clone())).await?;
        let build = BuildId::from(uuid::Uuid::new_v4());
        let archive = self.inner.service.upload_path(build);
        let mut file = tokio::fs::File::options().read(true).write(true).create(true).truncate(true).open(&archive).await?;
        // A small pack can unpack to any size; headers and padding come on top of the files.
        let tree = self.inner.limits.tree_bytes_max;
        let limit = tree + tree.min(TREE_ENTRIES_MAX * 1024);
        let bytes = tokio::io::copy(&mut reader.take(limit + 1), &mut file).await?;
        let whole = bytes <= limit && ends_as_tar(&mut file).await?;
        drop(file);
        if !whole {
            let _ = tokio::fs::remove_file(&archive).await; // a leftover is removed at the next start
            let text = format!(
                " !     Push rejected, the commit unpacks to more than {} MiB or could not be read.\n",
                self.inner.limits.tree_bytes_max >> 20
            );
            writer.write_all(text.as_bytes()).await?;
            return Ok(false);
        }
        self.take_turn(&hello.push, app, writer).await?;
        if !self.is_current(app, name, old).await {
            let _ = tokio::fs::remove_file(&archive).await; // a leftover is removed at the next start
            writer
                .write_all(b" !     Push rejected, another push moved the branch meanwhile. Fetch, merge and push again.\n")
                .await?;
            return Ok(false);
        }
        writer.write_all(b"Compressing source files... done.\nBuilding source:\n\n").await?;
        self.build(ctx, app, build, new, writer).await
    }

    /// One push of an app at a time.
    async fn take_turn(&self, push: &str, app: AppId, writer: &mut (impl tokio::io::AsyncWrite + Unpin)) -> io::Result<()> {
        let turn = {
            let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(app).or_default().clone()
        };
        let guard = match turn.clone().try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => {
                writer.write_all(b"-----> Another push to this app is being built; waiting in line...\n").await?;
                turn.lock_owned().await
            }
        };
        if let Some(push) = self.pushes().get_mut(push) {
            push.turn = Some(guard);
        }
        Ok(())
    }

    /// Is the branch where the pusher believes it to be? Git checks this too, but only after the build.
    async fn is_current(&self, app: AppId, name: &str, old: &str) -> bool {
        let path = crate::repository::path(&self.inner.repositories, app);
        let mut command = crate::repository::git(&self.inner.repositories);
        command.arg("--git-dir").arg(path).args(["rev-parse", "--verify", "--quiet", name]);
        let output = command.output().await;
        let current = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();
        current == old || (current.is_empty() && old == ZERO)
    }

    /// Asks for the build and copies its output; true when the new release is live. A pusher who goes away does not stop
    /// it: writing to nobody is not an error here.
    async fn build(
        &self,
        ctx: Ctx,
        app: AppId,
        id: BuildId,
        commit: &str,
        writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        let service = &self.inner.service;
        let source = SourceBlob { url: format!("git:{commit}"), version: Some(commit.into()), ..SourceBlob::default() };
        let new = NewBuild { source, buildpacks: Vec::new(), pushed: Some(id) };
        if let Err(e) = service.create_build(&ctx, &app.to_string(), new).await {
            writer.write_all(format!(" !     Push rejected: {}\n", e.public).as_bytes()).await?;
            return Ok(false);
        }
        let output = service.outputs().live(id.0);
        let (mut offset, mut listening) = (0, true);
        while let Some(piece) = output.next(offset).await? {
            offset += piece.len() as u64;
            listening = listening && writer.write_all(&piece).await.is_ok() && writer.flush().await.is_ok();
        }
        let build = service.build(&ctx, &app.to_string(), &id.to_string()).map(|(_, build)| build);
        let live = build.is_ok_and(|b| b.status == BuildStatus::Succeeded && b.failure.is_none());
        if !live && listening {
            let name = service.app(&ctx, &app.to_string()).map(|a| a.name).unwrap_or_default();
            writer.write_all(format!("\n!\tPush rejected to {name}.\n\n").as_bytes()).await?;
        }
        Ok(live)
    }
}

/// A tar ends with two blocks of zeros; one that was cut does not.
async fn ends_as_tar(file: &mut tokio::fs::File) -> io::Result<bool> {
    let mut end = [1u8; 1024];
    if file.metadata().await?.len() < 1024 {
        return Ok(false);
    }
    file.seek(io::SeekFrom::End(-1024)).await?;
    file.read_exact(&mut end).await?;
    Ok(end.iter().all(|b| *b == 0))
}

async fn order(writer: &mut (impl tokio::io::AsyncWrite + Unpin), archive: Option<String>) -> io::Result<()> {
    let text = serde_json::to_string(&Order { archive }).map_err(io::Error::other)?;
    writer.write_all(format!("{text}\n").as_bytes()).await
}
