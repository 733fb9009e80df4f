//! Uploads for API builds: `POST /sources` hands out a URL to put to and one to get from.

use crate::{Action, Ctx, Error, Result, Service, access, auth::random_key};
use domain::{UnixMs, limits::SOURCE_URL_MS};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// A place for one upload. The key is in the URL and is all that is needed.
#[derive(Clone, Debug)]
pub struct Source {
    /// Names the file.
    pub id: Uuid,
    /// Secret part of the URLs.
    pub key: String,
}

/// Uploads that may be open at once.
const SOURCES_MAX: usize = 1000;

/// Kept in memory: a restart ends open uploads, and their clients start over.
#[derive(Default)]
pub(crate) struct Sources(Mutex<HashMap<String, (Uuid, UnixMs)>>);

impl Service {
    /// Makes a place for an upload.
    ///
    /// # Errors
    /// `forbidden` for who may neither make an app nor deploy; when there are too many already.
    pub fn create_source(&self, ctx: &Ctx) -> Result<Source> {
        match ctx.grant.app {
            // A deploy token uploads for its app only.
            Some(app) => drop(self.app_for(ctx, Action::Deploy, &app.to_string())?),
            None => access::check(self.store(), ctx, Action::Create, crate::On::Platform)?,
        }
        let source = Source { id: Uuid::new_v4(), key: random_key()? };
        let mut open = self.inner.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, (id, end)| {
            let alive = *end > ctx.now;
            if !alive {
                let _ = std::fs::remove_file(self.source_file(*id)); // it may never have been put
            }
            alive
        });
        if open.len() >= SOURCES_MAX {
            return Err(Error::conflict("Too many uploads are open; try again later."));
        }
        open.insert(source.key.clone(), (source.id, ctx.now.plus_ms(SOURCE_URL_MS)));
        Ok(source)
    }

    /// File of the upload whose URL carries `key`.
    ///
    /// # Errors
    /// `not_found` when there is none or it is too old.
    pub fn source_path(&self, key: &str) -> Result<PathBuf> {
        let now = self.parts().clock.now();
        let open = self.inner.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.get(key).filter(|(_, end)| *end > now).map(|(id, _)| self.source_file(*id));
        found.ok_or_else(|| {
            Error::not_found("source", "This upload URL is unknown or has expired; make a new one with POST /sources.")
        })
    }

    /// The upload that a source URL of our own names, so that the engine needs no request to itself.
    pub fn own_source(&self, url: &str) -> Option<PathBuf> {
        let (_, key) = url.split_once("/sources/blob/")?;
        self.source_path(key).ok()
    }

    fn source_file(&self, id: Uuid) -> PathBuf {
        self.parts().upload_dir.join(format!("source-{id}.tgz"))
    }
}
