//! Two drivers as one: the main one, and one for what only it can run. An engine beside the native driver runs images.

use crate::{
    BuiltImage, Capabilities, Exec, Exit, ImageBuild, Input, Inspection, Root, Running, Runtime, RuntimeError, Said, Sink,
    Spec, Stats,
};
use async_trait::async_trait;
use domain::DynoId;
use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// The main driver, with another beside it.
pub struct Choice {
    main: Arc<dyn Runtime>,
    other: Arc<dyn Runtime>,
    /// Images run on the other one; else nothing new does, and it is only asked for what runs there already.
    images_on_other: bool,
    /// Cages of the other one.
    beside: Mutex<HashSet<DynoId>>,
}

impl Choice {
    /// Everything runs on `main` but [`Root::Image`], which runs on `images`.
    pub fn with_images_on(main: Arc<dyn Runtime>, images: Arc<dyn Runtime>) -> Self {
        Self { main, other: images, images_on_other: true, beside: Mutex::default() }
    }

    /// Everything runs on `main`. What runs on `other`, be it of former settings or a build that was cut, is still looked after.
    pub fn minding(main: Arc<dyn Runtime>, other: Arc<dyn Runtime>) -> Self {
        Self { main, other, images_on_other: false, beside: Mutex::default() }
    }

    fn beside(&self) -> MutexGuard<'_, HashSet<DynoId>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, id: DynoId) -> &Arc<dyn Runtime> {
        if self.beside().contains(&id) { &self.other } else { &self.main }
    }
}

#[async_trait]
impl Runtime for Choice {
    async fn start(&self, spec: Spec, sink: Arc<dyn Sink>) -> Result<IpAddr, RuntimeError> {
        if !self.images_on_other || !matches!(spec.root, Root::Image(_)) {
            return self.main.start(spec, sink).await;
        }
        let id = spec.id;
        self.beside().insert(id); // first: who asks meanwhile is to find it
        let started = self.other.start(spec, sink).await;
        if started.is_err() {
            self.beside().remove(&id);
        }
        started
    }

    async fn recover(&self, id: DynoId, sink: Arc<dyn Sink>) -> Result<Option<IpAddr>, RuntimeError> {
        let main = self.main.recover(id, sink.clone()).await;
        if matches!(main, Ok(Some(_))) {
            return main;
        }
        match self.other.recover(id, sink).await? {
            Some(address) => {
                self.beside().insert(id);
                Ok(Some(address))
            }
            None => main,
        }
    }

    async fn signal(&self, id: DynoId, signal: i32) -> Result<(), RuntimeError> {
        self.of(id).signal(id, signal).await
    }

    async fn stop(&self, id: DynoId, grace_ms: u64) -> Result<(), RuntimeError> {
        self.of(id).stop(id, grace_ms).await
    }

    async fn wait(&self, id: DynoId) -> Result<Exit, RuntimeError> {
        self.of(id).wait(id).await
    }

    async fn attach(&self, id: DynoId) -> Result<mpsc::Sender<Input>, RuntimeError> {
        self.of(id).attach(id).await
    }

    async fn exec(&self, id: DynoId, exec: Exec) -> Result<Running, RuntimeError> {
        self.of(id).exec(id, exec).await
    }

    async fn inspect(&self, id: DynoId) -> Result<Inspection, RuntimeError> {
        self.of(id).inspect(id).await
    }

    async fn stats(&self, id: DynoId) -> Option<Stats> {
        self.of(id).stats(id).await
    }

    /// One that does not answer hides only its own.
    async fn list(&self) -> Result<Vec<DynoId>, RuntimeError> {
        let (main, other) = (self.main.list().await, self.other.list().await);
        if let Ok(other) = &other {
            self.beside().extend(other);
        }
        if let (Err(e), _) | (_, Err(e)) = (&main, &other) {
            tracing::warn!(error = %e, "runtime.list: the cages of a driver that does not answer are left out");
        }
        Ok([main.unwrap_or_default(), other.unwrap_or_default()].concat())
    }

    async fn remove(&self, id: DynoId) -> Result<(), RuntimeError> {
        if self.beside().contains(&id) {
            self.other.remove(id).await?;
            self.beside().remove(&id);
            return Ok(());
        }
        self.main.remove(id).await
    }

    fn host_user(&self, user_slot: u32) -> Option<(u32, u32)> {
        self.main.host_user(user_slot)
    }

    async fn build_image(&self, build: ImageBuild, output: Said) -> Result<String, RuntimeError> {
        let builds = if self.images_on_other { &self.other } else { &self.main };
        builds.build_image(build, output).await
    }

    async fn built_images(&self) -> Result<Vec<BuiltImage>, RuntimeError> {
        let builds = if self.images_on_other { &self.other } else { &self.main };
        builds.built_images().await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), RuntimeError> {
        let builds = if self.images_on_other { &self.other } else { &self.main };
        builds.remove_image(tag).await
    }

    fn capabilities(&self) -> Capabilities {
        let (main, other) = (self.main.capabilities(), self.other.capabilities());
        let (whom, images) =
            if self.images_on_other { ("apps that are images", other.images) } else { ("builds", main.images) };
        let missing = other.missing.into_iter().map(|sentence| format!("{whom}: {sentence}"));
        Capabilities { images, missing: main.missing.iter().cloned().chain(missing).collect(), ..main }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Network, Stdio, fake::FakeRuntime};
    use std::collections::BTreeMap;

    struct Nobody;
    impl Sink for Nobody {
        fn output(&self, _end: u64, _time_us: u64, _bytes: &[u8]) {}
        fn dropped(&self, _lines: u64) {}
        fn grace_over(&self) {}
    }

    fn spec(root: Root) -> Spec {
        Spec {
            id: uuid::Uuid::new_v4().into(),
            argv: vec!["/bin/true".into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
            hostname: "x".into(),
            mounts: Vec::new(),
            user_slot: 1,
            limits: Limits { memory_bytes: 1 << 20, memory_hard: true, tasks_max: 1, cpu_share: 1, cores: None },
            network: Network::None,
            lossless: false,
            root,
            stdio: Stdio::Log,
        }
    }

    #[tokio::test]
    async fn images_go_beside_and_every_call_goes_where_the_cage_is() {
        let (main, images) = (Arc::new(FakeRuntime::default()), Arc::new(FakeRuntime::default()));
        let choice = Choice::with_images_on(main.clone(), images.clone());
        let (slug, image) = (spec(Root::Host), spec(Root::Image("shop:1".into())));
        let (slug_id, image_id) = (slug.id, image.id);
        for spec in [slug, image] {
            choice.start(spec, Arc::new(Nobody)).await.expect("started");
        }
        assert_eq!((main.list().await.expect("list"), images.list().await.expect("list")), (vec![slug_id], vec![image_id]));
        let next = Choice::with_images_on(main.clone(), images.clone());
        for id in [slug_id, image_id] {
            assert!(next.recover(id, Arc::new(Nobody)).await.expect("asked").is_some(), "a new daemon finds both");
            next.stop(id, 0).await.expect("stopped");
            assert_eq!(next.wait(id).await.expect("ended").status, 143);
            next.remove(id).await.expect("removed");
        }
        assert_eq!(next.list().await.expect("list"), vec![]);
        let minding = Choice::minding(main.clone(), images.clone());
        images.start(spec(Root::Host), Arc::new(Nobody)).await.expect("started");
        let orphans = minding.list().await.expect("list");
        assert_eq!(orphans.len(), 1, "what runs beside is found");
        minding.remove(orphans[0]).await.expect("removed");
        assert_eq!(images.list().await.expect("list"), vec![]);
        minding.start(spec(Root::Image("shop:1".into())), Arc::new(Nobody)).await.expect("started");
        assert_eq!((main.list().await.expect("list").len(), images.list().await.expect("list").len()), (1, 0));
        images.fail_next_starts(1);
        let failing = spec(Root::Image("shop:1".into()));
        let id = failing.id;
        assert!(next.start(failing, Arc::new(Nobody)).await.is_err());
        assert_eq!(next.wait(id).await, Err(RuntimeError::Unknown(id)));
    }
}
