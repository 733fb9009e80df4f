//! The server of static sites: this binary under the name `static`, copied into the slug by the static buildpack. Reads
//! `static.json` (`builds.md` section 8): `root`, `clean_urls`, `error_page`, `https_only`, `routes`, `redirects`, `headers`.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

/// What `static.json` may say; other keys are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    root: Option<String>,
    clean_urls: bool,
    https_only: bool,
    error_page: Option<String>,
    routes: BTreeMap<String, String>,
    redirects: BTreeMap<String, Redirect>,
    headers: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct Redirect {
    url: String,
    status: Option<u16>,
}

struct Site {
    root: PathBuf,
    settings: Settings,
}

/// Entry under the name `static`.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("static: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let settings = match std::fs::read("static.json") {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| anyhow::anyhow!("static.json: {e}"))?,
        Err(_) => Settings::default(),
    };
    let root = PathBuf::from(settings.root.clone().unwrap_or_else(|| "public_html".into()));
    let port: u16 = std::env::var("PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(5000);
    let app = Router::new().fallback(serve).with_state(Arc::new(Site { root, settings }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpListener::bind(("0.0.0.0", port)).await?;
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        axum::serve(socket, app).with_graceful_shutdown(async move { term.recv().await.unwrap_or_default() }).await
    })?;
    Ok(())
}

/// Order: https, files, clean addresses, redirects, routes, 404.
async fn serve(State(site): State<Arc<Site>>, request: Request) -> Response {
    let path = request.uri().path().to_string();
    let insecure = request.headers().get("x-forwarded-proto").is_some_and(|v| v == "http");
    if site.settings.https_only && insecure {
        let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("");
        let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
        return redirect(&format!("https://{host}{target}"), 301);
    }
    // What a site never means to publish, also when its root is the whole slug.
    let hidden = path.split('/').any(|part| part.starts_with('.') && part != ".well-known")
        || path == "/Procfile"
        || path == "/static.json";
    let mut response = if hidden { StatusCode::NOT_FOUND.into_response() } else { file(&site, request).await };
    if response.status() == StatusCode::NOT_FOUND {
        response = otherwise(&site, &path).await;
    }
    for (pattern, values) in site.settings.headers.iter().filter(|(pattern, _)| matches(pattern, &path)) {
        for (name, value) in values {
            match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                (Ok(name), Ok(value)) => drop(response.headers_mut().insert(name, value)),
                _ => eprintln!("static: header {name:?} of {pattern:?} is not valid"),
            }
        }
    }
    response
}

async fn file(site: &Site, request: Request) -> Response {
    let clean = site.settings.clean_urls.then(|| clean_address(request.uri())).flatten();
    let directory = ServeDir::new(&site.root).append_index_html_on_directories(true);
    let (parts, body) = request.into_parts();
    let again = clean.map(|uri| {
        let mut copy = Request::new(Body::empty());
        (*copy.method_mut(), *copy.headers_mut(), *copy.uri_mut()) = (parts.method.clone(), parts.headers.clone(), uri);
        copy
    });
    let response = answer(directory.clone().oneshot(Request::from_parts(parts, body)).await);
    match again {
        Some(request) if response.status() == StatusCode::NOT_FOUND => answer(directory.oneshot(request).await),
        _ => response,
    }
}

fn answer<B>(result: Result<axum::http::Response<B>, std::convert::Infallible>) -> Response
where
    B: http_body_util::BodyExt<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match result {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// `/about` is looked up as `/about.html` too.
fn clean_address(uri: &Uri) -> Option<Uri> {
    let path = uri.path().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or("");
    (!last.is_empty() && !last.contains('.')).then(|| format!("{path}.html").parse().ok()).flatten()
}

/// A redirect, a route to a file, or the 404 page.
async fn otherwise(site: &Site, path: &str) -> Response {
    if let Some((_, to)) = site.settings.redirects.iter().find(|(pattern, _)| matches(pattern, path)) {
        return redirect(&to.url, to.status.unwrap_or(301));
    }
    if let Some((_, to)) = site.settings.routes.iter().find(|(pattern, _)| matches(pattern, path)) {
        return named_file(&site.root.join(to.trim_start_matches('/'))).await;
    }
    let mut response = match &site.settings.error_page {
        Some(page) => named_file(&site.root.join(page.trim_start_matches('/'))).await,
        None => "Not found\n".into_response(),
    };
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn named_file(path: &Path) -> Response {
    answer(ServeFile::new(path).oneshot(Request::new(Body::empty())).await)
}

fn redirect(to: &str, status: u16) -> Response {
    let status = StatusCode::from_u16(status).ok().filter(StatusCode::is_redirection).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    match HeaderValue::from_str(to) {
        Ok(value) => (status, [(header::LOCATION, value)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// `*` stands for one part of a path, `**` for any.
fn matches(pattern: &str, path: &str) -> bool {
    fn parts(text: &str) -> Vec<&str> {
        text.trim_matches('/').split('/').collect()
    }
    fn step(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => (0..=path.len()).any(|n| step(rest, &path[n..])),
            (Some((first, rest)), Some((part, tail))) => (*first == "*" || first == part) && step(rest, tail),
            _ => false,
        }
    }
    step(&parts(pattern), &parts(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_clean_addresses() {
        assert!(matches("/**", "/a/b") && matches("/a/*", "/a/b") && matches("/", "/") && matches("/a/**", "/a"));
        assert!(!matches("/a/*", "/a/b/c") && !matches("/b", "/a"));
        assert_eq!(clean_address(&"/about".parse().unwrap()).unwrap().path(), "/about.html");
        assert!(clean_address(&"/a.css".parse().unwrap()).is_none() && clean_address(&"/".parse().unwrap()).is_none());
    }
}
