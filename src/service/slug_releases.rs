//! Releases of a slug that is there, and the config vars that a release has frozen.

use crate::{Action, Ctx, Error, ReleaseDraft, Result, Service, add_release, find_app, read_config};
use domain::{App, Release, SlugId, SlugState};
use std::collections::BTreeMap;
use store::{ReadRows, tables};

/// Longest description of a release, in characters.
const DESCRIPTION_MAX: usize = 200;

impl Service {
    /// The config vars of a release, as they were when it was made.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn release_config(&self, ctx: &Ctx, app: &str, id_or_version: &str) -> Result<BTreeMap<String, String>> {
        let app = self.app_for(ctx, Action::ReadSecrets, app)?;
        let (_, release) = self.release(ctx, &app.id.to_string(), id_or_version)?;
        read_config(self.store(), &self.parts().sealer, app.id, release.config_version)
    }

    /// Makes a release of a slug of the app with the present config vars.
    ///
    /// # Errors
    /// `not_found` for the slug, `forbidden`; `invalid_params` for a slug without its bytes or a description that is too long.
    pub async fn release_slug(&self, ctx: &Ctx, app: &str, slug: &str, description: Option<String>) -> Result<(App, Release)> {
        let app = self.app_for(ctx, Action::Deploy, app)?;
        let missing = || Error::not_found("slug", "Couldn't find that slug.");
        let slug: SlugId = slug.parse().map_err(|_| missing())?;
        let description = description.filter(|text| !text.trim().is_empty());
        let too_long = |text: &String| text.chars().count() > DESCRIPTION_MAX || text.chars().any(char::is_control);
        if description.as_ref().is_some_and(too_long) {
            return Err(Error::invalid(format!("description must be one line of at most {DESCRIPTION_MAX} characters.")));
        }
        let (ctx2, id) = (ctx.clone(), app.id);
        let (app, release) = self
            .store()
            .commit(move |tx| {
                let mut app = find_app(tx, &id.to_string())?;
                let row = tx.get(&tables::SLUGS, &slug)?.filter(|row| row.app == id).ok_or_else(missing)?;
                if row.state != SlugState::Ready {
                    return Err(Error::invalid("That slug has no bytes yet; upload them to its blob URL first."));
                }
                let commit = row.commit.unwrap_or_default().chars().take(8).collect::<String>();
                let description = description.unwrap_or_else(|| format!("Deploy {commit}").trim_end().to_string());
                let draft = ReleaseDraft { config_version: None, description, slug: Some(slug) };
                let release = add_release(tx, &ctx2, &mut app, draft)?;
                tx.put(&tables::APPS, &id, &app)?;
                Ok::<_, Error>((app, release))
            })
            .await?;
        self.log_action(id, ctx, &release.description);
        self.log_action(id, ctx, &format!("Release v{} created", release.version));
        Ok((app, release))
    }
}
