//! Apps of images: a source with a `heroku.yml` becomes one image for each process type that names a Dockerfile.

use crate::{
    build::{BuildError, BuildRequest, BuildResult, Builder, STOPPED, failed},
    heroku_yml,
};
use domain::AppId;
use logs::Output;
use runtime::ImageBuild;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

/// Name of the stack.
pub const CONTAINER: &str = "container";
const FILE: &str = "heroku.yml";
/// What images are called; the app follows.
const IMAGE_PREFIX: &str = "tidemill-app-";

/// The app for which an image of this name was built, if that was here.
pub fn app_of_image(tag: &str) -> Option<AppId> {
    tag.strip_prefix(IMAGE_PREFIX)?.split_once('/')?.0.parse().ok()
}

impl Builder {
    pub(crate) async fn build_images(
        &self,
        source: &Path,
        request: &BuildRequest,
        output: &Arc<Output>,
    ) -> Result<BuildResult, BuildError> {
        let text = fs::read_to_string(source.join(FILE)).map_err(|_| {
            failed("no heroku.yml was found; apps on the container stack need one, which names a Dockerfile for each process type.")
        })?;
        let yml = heroku_yml::parse(&text).map_err(failed)?;
        let mut built = BTreeMap::new();
        for (ptype, dockerfile) in &yml.dockerfiles {
            output.line(&format!("=== Building {ptype} ({dockerfile})"));
            // The folder of the Dockerfile is all that its build sees.
            let path = source.join(dockerfile);
            let inside = path.canonicalize().ok().filter(|path| source.canonicalize().is_ok_and(|top| path.starts_with(top)));
            let (Some(path), Some(name)) = (inside, path.file_name()) else {
                return Err(failed(format!("{dockerfile} was not found.")));
            };
            let build = ImageBuild {
                context: path.parent().unwrap_or(source).to_path_buf(),
                dockerfile: name.to_string_lossy().into_owned(),
                arguments: yml.arguments.clone(),
                tag: format!("{IMAGE_PREFIX}{}/{}:{}", request.app, ptype.to_lowercase(), request.id),
                limits: self.limits,
                network: self.image_network.clone(),
            };
            let sink = output.clone();
            let building = self.images.build_image(build, Arc::new(move |bytes: &[u8]| sink.write(bytes)));
            let mut stopped = request.stopped.clone();
            let id = tokio::select! {
                id = tokio::time::timeout(self.time_limit, building) => id,
                // The engine ends a build whose client is gone.
                Ok(_) = stopped.wait_for(|stop| *stop) => return Err(failed(STOPPED)),
            };
            let id = id.map_err(|_| failed(format!("build timed out after {} s.", self.time_limit.as_secs())))?;
            built.insert(ptype.clone(), id.map_err(|e| failed(format!("{ptype} was not built: {e}")))?);
        }
        let images =
            yml.run.keys().filter_map(|ptype| Some((ptype.clone(), built.get(yml.image_of(ptype)?)?.clone()))).collect();
        let process_types = yml.run.into_iter().map(|(ptype, run)| (ptype, run.command)).collect();
        Ok(BuildResult { process_types, slug: None, images, detected: "container".into(), config_vars: BTreeMap::new() })
    }
}
