//! The page for browsers: its files, embedded, with the fields that go with them.
//!
//! All files name each other, and the documents of the API, relative to the page's `base`: the
//! admin listener serves it at `/`, a mount wherever it stands. A mount is to serve the reading
//! part of the API below the same base (`BASE/api/v1/…`), and says `ReadOnly`: the page then offers
//! nothing that changes something.
//!
//! *Architecture invariant:* the page has no inline script and no inline style, and asks nobody but
//! the server it came from; its content security policy says so to the browser.

use crate::admin;
use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

/// Everything comes from the same origin. `data:` is for the page's icon, which is a drawing.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'self'; \
    form-action 'none'; frame-ancestors 'none'; object-src 'none'";
/// What the page has where its base belongs.
const BASE_MARK: &str = "{{base}}";
/// What the page has where it says whether it may change something.
const ACCESS_MARK: &str = "{{access}}";
/// Of a hash of 32.
const TAG_BYTES: usize = 16;
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const PAGE: &str = include_str!("../assets/index.html");

/// Whether the page may offer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Of the admin listener: its roles decide.
    Full,
    /// Of a mount on a traffic listener.
    ReadOnly,
}

impl Access {
    fn as_str(self) -> &'static str {
        match self {
            Access::Full => "full",
            Access::ReadOnly => "read-only",
        }
    }
}

/// One file of the page, ready to be sent.
#[derive(Clone, Debug)]
pub struct Asset {
    /// The bytes.
    pub body: Bytes,
    /// In quotes; stands for the bytes.
    pub etag: String,
    content_type: &'static str,
}

impl Asset {
    /// The fields that go with it; with a 304 as well.
    pub fn fields(&self) -> Vec<(HeaderName, HeaderValue)> {
        let fixed = [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ];
        let fixed = fixed.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let etag = HeaderValue::try_from(&self.etag).ok().map(|etag| (ETAG, etag));
        fixed.into_iter().chain(etag).collect()
    }

    /// True if an `If-None-Match` field names these very bytes.
    pub fn is_known(&self, if_none_match: &str) -> bool {
        let named = |tag: &str| tag.trim().trim_start_matches("W/") == self.etag;
        if_none_match.trim() == "*" || if_none_match.split(',').any(named)
    }

    fn new(content_type: &'static str, body: Bytes) -> Asset {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let digits: String =
            hash.as_ref()[..TAG_BYTES].iter().map(|it| format!("{it:02x}")).collect();
        Asset { body, etag: format!("\"{digits}\""), content_type }
    }
}

macro_rules! files {
    ($($path:literal as $content_type:expr;)*) => {
        /// Path below the base, media type, bytes.
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($path, $content_type, include_bytes!(concat!("../", $path))),)*];
    };
}

files! {
    "assets/app.css" as STYLE;
    "assets/main.js" as SCRIPT;
    "assets/actions.js" as SCRIPT;
    "assets/api.js" as SCRIPT;
    "assets/backends.js" as SCRIPT;
    "assets/changes.js" as SCRIPT;
    "assets/charts.js" as SCRIPT;
    "assets/dom.js" as SCRIPT;
    "assets/features.js" as SCRIPT;
    "assets/format.js" as SCRIPT;
    "assets/overview.js" as SCRIPT;
    "assets/pools.js" as SCRIPT;
    "assets/requests.js" as SCRIPT;
    "assets/state.js" as SCRIPT;
    "assets/vendor/uplot.css" as STYLE;
    "assets/vendor/uplot.js" as SCRIPT;
    "assets/vendor/uplot.LICENSE" as PLAIN;
}

/// The page itself, for a base that begins and ends with `/`.
pub fn page(base: &str, access: Access) -> Asset {
    let html = PAGE.replace(BASE_MARK, &attribute(base)).replace(ACCESS_MARK, access.as_str());
    Asset::new(HTML, Bytes::from(html))
}

/// A file that the page names, by its path below the base without a leading `/`; `None` if there is
/// none.
pub fn asset(path: &str) -> Option<Asset> {
    let (_, content_type, bytes) = FILES.iter().find(|(name, _, _)| *name == path)?;
    Some(Asset::new(content_type, Bytes::from_static(bytes)))
}

/// Where the page and its files are on the admin listener.
pub(crate) const PATHS: [&str; 3] = ["/", "/dashboard", "/assets/{*path}"];

/// The page on the admin listener. It says nothing of the process, and so needs no token: what it
/// reads does.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let [page, alias, files] = PATHS;
    Router::new().route(page, get(root)).route(alias, get(root)).route(files, get(file))
}

async fn root(fields: HeaderMap) -> Response {
    answer(page("/", Access::Full), &fields)
}

async fn file(uri: Uri, fields: HeaderMap) -> Response {
    match asset(uri.path().trim_start_matches('/')) {
        Some(asset) => answer(asset, &fields),
        None => admin::not_found().await.into_response(),
    }
}

fn answer(asset: Asset, fields: &HeaderMap) -> Response {
    let own: HeaderMap = asset.fields().into_iter().collect();
    let if_none_match = fields.get(IF_NONE_MATCH).and_then(|field| field.to_str().ok());
    if if_none_match.is_some_and(|field| asset.is_known(field)) {
        return (StatusCode::NOT_MODIFIED, own).into_response();
    }
    (own, asset.body).into_response()
}

/// Text for an attribute in double quotes.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Everything that a browser loads.
    const MAX_PAGE_BYTES: usize = 150_000;

    fn text(path: &str) -> String {
        let asset = asset(path).unwrap_or_else(|| panic!("{path} is not served"));
        String::from_utf8(asset.body.to_vec()).unwrap()
    }

    /// What stands between `before` and the next quote.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_file_named_is_served_and_every_file_served_is_named() {
        let page = page("/", Access::Full);
        let page = std::str::from_utf8(&page.body).unwrap();
        let mut named: BTreeSet<String> = BTreeSet::new();
        for name in quoted(page, "src=\"").into_iter().chain(quoted(page, "href=\"assets/")) {
            let name = name.strip_prefix("assets/").unwrap_or(name);
            named.insert(format!("assets/{name}"));
        }
        for (path, content_type, _) in FILES {
            if *content_type == SCRIPT && !path.contains("vendor") {
                let imports = text(path);
                let imports = quoted(&imports, "from \"./").into_iter();
                named.extend(imports.map(|name| format!("assets/{name}")));
            }
        }
        let licence = "assets/vendor/uplot.LICENSE";
        let served = FILES.iter().map(|(path, _, _)| (*path).to_owned());
        let served: BTreeSet<String> = served.filter(|path| path != licence).collect();
        assert_eq!(named, served);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let files = std::fs::read_dir(&folder).unwrap().count();
        let vendored = std::fs::read_dir(folder.join("vendor")).unwrap().count();
        // Besides the files there are the page and the folder of foreign ones.
        assert_eq!(files + vendored, FILES.len() + 2);
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let page = page("/", Access::Full);
        let all: usize = FILES.iter().map(|(_, _, bytes)| bytes.len()).sum();
        assert!(all + page.body.len() < MAX_PAGE_BYTES, "{} bytes", all + page.body.len());
        let page = std::str::from_utf8(&page.body).unwrap();
        for inline in
            [" style=", "<style", " onclick=", " onload=", "<script>", "http://", "https://"]
        {
            assert!(!page.contains(inline), "{inline} is in the page");
        }
        for (path, _, _) in FILES.iter().filter(|(path, _, _)| !path.contains("vendor")) {
            for foreign in ["innerHTML", "eval(", "new Function", "https://"] {
                assert!(!text(path).contains(foreign), "{foreign} is in {path}");
            }
        }
    }

    #[test]
    fn the_base_goes_into_the_page() {
        let mounted = page("/a\"b/", Access::ReadOnly);
        let html = std::str::from_utf8(&mounted.body).unwrap();
        assert!(html.contains("<base href=\"/a&quot;b/\">"), "{html}");
        assert!(html.contains("data-access=\"read-only\""), "{html}");
        assert!(!html.contains("{{"), "{html}");
        assert_ne!(mounted.etag, page("/", Access::Full).etag);
    }

    #[test]
    fn bytes_that_are_known_are_told_by_their_tag() {
        let script = asset("assets/main.js").unwrap();
        assert_eq!(script.etag, asset("assets/main.js").unwrap().etag);
        assert_eq!(script.etag.len(), 34);
        let cases = [
            (script.etag.clone(), true),
            (format!("\"x\", W/{}", script.etag), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
            (String::new(), false),
        ];
        for (field, expected) in cases {
            assert_eq!(script.is_known(&field), expected, "{field}");
        }
        let fields = script.fields();
        let value = |wanted: HeaderName| {
            let field = fields.iter().find(|(name, _)| *name == wanted);
            field.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        assert_eq!(value(CACHE_CONTROL), "no-store");
        assert_eq!(value(ETAG), script.etag);
        assert_eq!(value(CONTENT_TYPE), SCRIPT);
        assert!(value(CONTENT_SECURITY_POLICY).starts_with("default-src 'self'"));
        for nothing in ["", "assets/", "assets/../Cargo.toml", "index.html", "/assets/main.js"] {
            assert!(asset(nothing).is_none(), "{nothing}");
        }
    }
}
