//! Style, script and speculation rules: under names with a hash of what is in them, so that they are kept for ever.

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;
use std::{collections::BTreeMap, sync::LazyLock};

#[derive(RustEmbed)]
#[folder = "../../web/static/"]
struct Static;

struct Asset {
    kind: &'static str,
    plain: Vec<u8>,
    squeezed: Vec<u8>,
}

struct Assets {
    by_path: BTreeMap<String, Asset>,
    /// File to the name that it is served under.
    names: BTreeMap<String, String>,
}

/// FNV-1a: tells versions apart, protects nothing.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let (mut by_path, mut names) = (BTreeMap::new(), BTreeMap::new());
    for file in Static::iter() {
        let Some(found) = Static::get(&file) else { continue };
        let (stem, end) = file.split_once('.').unwrap_or((&file, ""));
        let kind = match end {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "json" => "application/speculationrules+json",
            _ => "application/octet-stream",
        };
        let plain = found.data.into_owned();
        let name = format!("{stem}.{:08x}.{end}", hash(&plain) & 0xffff_ffff);
        let asset = Asset { kind, squeezed: crate::render::squeezed(&plain), plain };
        by_path.insert(name.clone(), asset);
        names.insert(file.to_string(), format!("/static/{name}"));
    }
    Assets { by_path, names }
});

/// Address of a file of `web/static`.
pub fn path(file: &str) -> &'static str {
    ASSETS.names.get(file).map_or("", String::as_str)
}

/// Serves one of them; another version than the one that is here is not found.
pub async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.by_path.get(&file) else { return StatusCode::NOT_FOUND.into_response() };
    let gzip = crate::render::takes_gzip(&headers);
    let body = if gzip { &asset.squeezed } else { &asset.plain };
    let mut response = body.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
