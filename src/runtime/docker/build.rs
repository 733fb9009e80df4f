//! Building an image from a Dockerfile, by the engine.

use super::{
    engine::{Engine, UPLOAD_LIMIT},
    upload::{Owner, Part, archive},
};
use crate::{ImageBuild, RuntimeError, Said};
use bollard::query_parameters::BuildImageOptionsBuilder;
use futures_util::StreamExt;
use std::{collections::HashMap, sync::Arc};

/// Label of images that were built here, with the app's name for them.
const BUILT_LABEL: &str = "tidemill.built";

/// Builds and tags; answers the image's content address. What the engine says goes to `output`.
pub async fn build(engine: &Arc<Engine>, build: ImageBuild, output: Said) -> Result<String, RuntimeError> {
    let docker = engine.docker()?.with_timeout(UPLOAD_LIMIT);
    let labels = HashMap::from([(BUILT_LABEL.to_string(), build.tag.clone())]);
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
