//! Images of apps that are gone: the container engine keeps them until somebody says otherwise.

use crate::Engine;
use domain::AppId;
use std::collections::HashSet;
use store::{ReadRows, tables};

/// Begins to look for images that no app and no slug names, and removes them. What can not be removed now is found by the
/// next look: when another app goes, and at the next start.
pub fn look_soon(engine: &Engine) {
    if engine.shared.parts.runtime.capabilities().images {
        let engine = engine.clone();
        tokio::spawn(async move {
            if let Err(e) = remove_unnamed(&engine).await {
                tracing::warn!(error = %e, "engine.images_left: they are looked for again when an app is destroyed, or at the next start");
            }
        });
    }
}

async fn remove_unnamed(engine: &Engine) -> Result<(), service::Error> {
    let parts = &engine.shared.parts;
    // Before the rows: an image of an app that was created since then is not among them.
    let images = parts.runtime.built_images().await.map_err(|e| service::Error::internal(e.to_string()))?;
    let apps: HashSet<AppId> = parts.store.scan(&tables::APPS, &())?.into_iter().map(|app| app.id).collect();
    let slugs = parts.store.scan(&tables::SLUGS, &())?;
    let named: HashSet<&String> = slugs.iter().flat_map(|slug| slug.images.values()).collect();
    for image in images {
        let gone = builder::app_of_image(&image.tag).is_some_and(|app| !apps.contains(&app));
        if gone && !named.contains(&image.id) {
            let removed = parts.runtime.remove_image(&image.tag).await;
            removed.map_err(|e| service::Error::internal(format!("{}: {e}", image.tag)))?;
            tracing::info!(image = %image.tag, "engine.image_removed: its app is gone");
        }
    }
    Ok(())
}
