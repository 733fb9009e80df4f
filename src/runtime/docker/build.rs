//! Building an image from a Dockerfile, by the engine, and removing it.

use super::{
    INSTANCE_LABEL,
    engine::{Engine, UPLOAD_LIMIT, gone},
    upload::{Owner, Part, archive},
};
use crate::{BuiltImage, ImageBuild, RuntimeError, Said};
use bollard::query_parameters::{BuildImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions};
use futures_util::StreamExt;
use std::{collections::HashMap, sync::Arc};

/// Label of images that were built here, with the app's name for them.
const BUILT_LABEL: &str = "tidemill.built";

/// Builds and tags; answers the image's content address. What the engine says goes to `output`.
pub async fn build(engine: &Arc<Engine>, instance: &str, build: ImageBuild, output: Said) -> Result<String, RuntimeError> {
    let docker = engine.docker()?.with_timeout(UPLOAD_LIMIT);
    let labels = [(BUILT_LABEL, build.tag.clone()), (INSTANCE_LABEL, instance.to_string())];
    let labels: HashMap<String, String> = labels.map(|(name, value)| (name.to_string(), value)).into();
    let arguments: HashMap<String, String> = build.arguments.into_iter().collect();
    let megabytes = |bytes: u64| i32::try_from(bytes.min(i32::MAX as u64)).unwrap_or(i32::MAX);
    let options = BuildImageOptionsBuilder::default()
        .dockerfile(&build.dockerfile)
        .t(&build.tag)
        .buildargs(&arguments)
        .labels(&labels)
        .networkmode(&build.network)
        .memory(megabytes(build.limits.memory_bytes))
        .rm(true)
        .forcerm(true)
        .build();
    let context = archive(vec![Part::Folder { source: build.context, target: ".".into(), owner: Owner::Fixed }]);
    let mut news = std::pin::pin!(docker.build_image(options, None, Some(bollard::body_try_stream(context))));
    let mut id = None;
    while let Some(piece) = news.next().await {
        let piece = piece.map_err(|e| RuntimeError::Start(e.to_string()))?;
        if let Some(text) = piece.stream.or(piece.status) {
            output(text.as_bytes());
        }
        if let Some(error) = piece.error_detail {
            return Err(RuntimeError::Start(error.message.unwrap_or_else(|| "the engine does not say why".into())));
        }
        id = piece.aux.and_then(|aux| aux.id).or(id);
    }
    id.ok_or_else(|| RuntimeError::Start("the engine made no image".into()))
}

/// All that [`build`] made for this platform, by name.
pub async fn list(engine: &Arc<Engine>, instance: &str) -> Result<Vec<BuiltImage>, RuntimeError> {
    let labels = vec![BUILT_LABEL.to_string(), format!("{INSTANCE_LABEL}={instance}")];
    let options = ListImagesOptionsBuilder::default().filters(&HashMap::from([("label".to_string(), labels)])).build();
    let found = engine.docker()?.list_images(Some(options)).await.map_err(|e| RuntimeError::Io(e.to_string()))?;
    let of = |id: String, tags: Vec<String>| tags.into_iter().map(move |tag| BuiltImage { tag, id: id.clone() });
    Ok(found.into_iter().flat_map(|image| of(image.id, image.repo_tags)).collect())
}

/// Takes a name from an image; see [`crate::Runtime::remove_image`].
pub async fn remove(engine: &Arc<Engine>, tag: &str) -> Result<(), RuntimeError> {
    let removed = engine.docker()?.remove_image(tag, None::<RemoveImageOptions>, None).await;
    gone(removed.map(drop)).map_err(|e| RuntimeError::Io(e.to_string()))
}
