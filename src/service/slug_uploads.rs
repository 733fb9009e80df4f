//! Slugs that were built elsewhere: made here without their bytes, filled by an upload to an address that expires
//! (`platform-api.md` section 13).

use crate::{
    Action, Ctx, Error, Result, Service,
    auth::{hash, random_key},
    builds::same,
    find_app,
};
use domain::{AppId, EventBody, Slug, SlugId, SlugState, limits::SOURCE_URL_MS, names};
use std::{collections::BTreeMap, path::PathBuf};
use store::{ReadRows, Tx, tables, tables::SlugUpload};
use uuid::Uuid;

/// What a slug is made with.
#[derive(Debug, Default)]
pub struct NewSlug {
    /// Type to command.
    pub process_types: BTreeMap<String, String>,
    /// What it was built from.
    pub commit: Option<String>,
    /// Subject of the commit.
    pub commit_description: Option<String>,
    /// `SHA256:<hex>` that the upload must have.
    pub checksum: Option<String>,
    /// Name from detection, for people.
    pub detected: Option<String>,
    /// Root file system; that of the app when not given.
    pub stack: Option<String>,
}

/// Where an upload goes to.
#[derive(Debug)]
pub struct SlugPlace {
    /// The slug's file.
    pub path: PathBuf,
    /// `SHA256:<hex>` that is expected.
    pub checksum: Option<String>,
    app: AppId,
    slug: SlugId,
}

/// Slugs of one app whose bytes may be missing at once.
const WAITING_MAX: usize = 10;
/// Process types of a slug.
const TYPES_MAX: usize = 100;
/// Longest command or description, bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;

fn check(new: &NewSlug) -> Result<()> {
    if new.process_types.len() > TYPES_MAX {
        return Err(Error::invalid(format!("A slug has at most {TYPES_MAX} process types.")));
    }
    for (name, command) in &new.process_types {
        if !names::is_process_type(name) {
            return Err(Error::invalid(format!("{name:?} is no process type: letters, digits, - and _ only.")));
        }
        if command.trim().is_empty() || command.len() > TEXT_BYTES_MAX || command.contains('\0') {
            return Err(Error::invalid(format!("The command of {name} must be text of at most {TEXT_BYTES_MAX} bytes.")));
        }
    }
    let good =
        |c: &str| c.strip_prefix("SHA256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if new.checksum.as_deref().is_some_and(|c| !good(c)) {
        return Err(Error::invalid("checksum must be SHA256: and 64 hexadecimal digits."));
    }
    let texts = [&new.commit, &new.commit_description, &new.detected];
    if texts.into_iter().flatten().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Error::invalid(format!("Texts of a slug have at most {TEXT_BYTES_MAX} bytes.")));
    }
    Ok(())
}

/// Forgets what was never uploaded in time.
fn forget_late(tx: &mut Tx, ctx: &Ctx, app: AppId) -> Result<usize> {
    let (late, waiting): (Vec<_>, Vec<_>) =
        tx.scan(&tables::SLUG_UPLOADS, &app)?.into_iter().filter(|row| !row.done).partition(|row| row.until <= ctx.now);
    for row in late {
        tx.delete(&tables::SLUGS, &row.slug);
        tx.delete(&tables::SLUG_BY_APP, &(app, row.slug));
        tx.delete(&tables::SLUG_UPLOADS, &(app, row.slug));
    }
    Ok(waiting.len())
}

/// With the app: also slugs that no release names.
pub(crate) fn remove(tx: &mut Tx, app: AppId) -> Result<()> {
    for row in tx.scan(&tables::SLUG_UPLOADS, &app)? {
        tx.delete(&tables::SLUGS, &row.slug);
    }
    Ok(tx.delete_all(&tables::SLUG_UPLOADS, &app)?)
}

impl Service {
    /// Makes a slug without its bytes. Answers with the secret of the address that takes them, for an hour.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`; `conflict` when too many of the app wait for their bytes.
    pub async fn create_slug(&self, ctx: &Ctx, app: &str, new: NewSlug) -> Result<(Slug, String)> {
        let app = self.app_for(ctx, Action::Deploy, app)?;
        check(&new)?;
        self.check_stack(new.stack.as_deref())?;
        let key = random_key()?;
        let slug = Slug {
            id: Uuid::new_v4().into(),
            app: app.id,
            state: SlugState::Waiting,
            process_types: new.process_types,
            commit: new.commit,
            commit_description: new.commit_description,
            checksum: new.checksum,
            bytes: None,
            stack: new.stack.unwrap_or(app.stack),
            detected: new.detected,
            images: BTreeMap::new(),
            blob_key: random_key()?,
            created_at: ctx.now,
        };
        let upload = SlugUpload { slug: slug.id, key_hash: hash(&key), until: ctx.now.plus_ms(SOURCE_URL_MS), done: false };
        let (ctx, row) = (ctx.clone(), slug.clone());
        self.store()
            .commit(move |tx| {
                find_app(tx, &row.app.to_string())?;
                if forget_late(tx, &ctx, row.app)? >= WAITING_MAX {
                    let text = format!("{WAITING_MAX} slugs of this app wait for their bytes; upload them first.");
                    return Err(Error::conflict(text));
                }
                tx.put(&tables::SLUGS, &row.id, &row)?;
                tx.put(&tables::SLUG_BY_APP, &(row.app, row.id), &tables::Present {})?;
                tx.put(&tables::SLUG_UPLOADS, &(row.app, row.id), &upload)?;
                tx.event(ctx.now, Some(row.app), ctx.origin(), EventBody::SlugChanged)?;
                Ok(())
            })
            .await?;
        Ok((slug, key))
    }

    /// Where the bytes of a slug go, for an address that carries `key`.
    ///
    /// # Errors
    /// `not_found` for a wrong key and after its time; `conflict` when they are there already.
    pub fn slug_place(&self, id: &str, key: &str) -> Result<SlugPlace> {
        let missing = || Error::not_found("slug", "This upload URL is unknown or has expired; make a new slug.");
        let id: SlugId = id.parse().map_err(|_| missing())?;
        let slug = self.store().get(&tables::SLUGS, &id)?.ok_or_else(missing)?;
        let upload = self.store().get(&tables::SLUG_UPLOADS, &(slug.app, id))?.ok_or_else(missing)?;
        if !same(&upload.key_hash, &hash(key)) || upload.until <= self.parts().clock.now() {
            return Err(missing());
        }
        if upload.done {
            return Err(Error::conflict("The bytes of this slug are there already; make a new slug for other ones."));
        }
        Ok(SlugPlace { path: self.slug_path(slug.app, id), checksum: slug.checksum, app: slug.app, slug: id })
    }

    /// The bytes are in place: `bytes` of them, with this checksum.
    ///
    /// # Errors
    /// `not_found` when the app is gone; `conflict` when another upload was faster.
    pub async fn slug_filled(&self, place: SlugPlace, checksum: String, bytes: u64) -> Result<()> {
        let now = self.parts().clock.now();
        self.store()
            .commit(move |tx| {
                let missing = || Error::not_found("slug", "Couldn't find that slug.");
                let mut slug = tx.get(&tables::SLUGS, &place.slug)?.ok_or_else(missing)?;
                let mut upload = tx.get(&tables::SLUG_UPLOADS, &(place.app, place.slug))?.ok_or_else(missing)?;
                if upload.done {
                    return Err(Error::conflict("The bytes of this slug are there already."));
                }
                upload.done = true;
                slug.state = SlugState::Ready;
                slug.checksum = Some(checksum);
                slug.bytes = Some(bytes);
                tx.put(&tables::SLUGS, &place.slug, &slug)?;
                tx.put(&tables::SLUG_UPLOADS, &(place.app, place.slug), &upload)?;
                tx.event(now, Some(place.app), domain::Origin::default(), EventBody::SlugChanged)?;
                Ok(())
            })
            .await
    }
}
