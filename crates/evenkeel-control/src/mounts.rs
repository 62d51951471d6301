//! Makes the pages that clients ask mounts on traffic listeners for.

use crate::admin::Desk;
use crate::dashboard::{self, Access, Asset};
use crate::history::Scope;
use crate::metrics::{Format, negotiate};
use crate::numbers::Numbers;
use crate::pages;
use crate::portrait::Portrait;
use axum::extract::Query;
use axum::http::Uri;
use evenkeel_api as api;
use evenkeel_core::plan::{MetricsFormat, Mounted};
use evenkeel_proxy::mount::{Errand, Page};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

const JSON: &str = "application/json";

/// Answers until nobody can ask any more.
pub(crate) async fn serve(mut errands: Receiver<Errand>, desk: Desk) {
    let Some(numbers) = desk.numbers.clone() else { return };
    while let Some(errand) = errands.recv().await {
        let page = answer(&numbers, &desk, &errand);
        // The client may have left.
        let _ = errand.reply.send(page);
        tokio::task::yield_now().await;
    }
}

fn answer(numbers: &Arc<Numbers>, desk: &Desk, errand: &Errand) -> Page {
    let accept = errand.accept.as_deref();
    match errand.mount.serve {
        Mounted::Health { down_status } => plain(pages::health(numbers, accept, down_status)),
        Mounted::Metrics { default_format } => {
            let default = match default_format {
                MetricsFormat::Prometheus => Format::Prometheus,
                MetricsFormat::Openmetrics => Format::OpenMetrics,
                MetricsFormat::Json => Format::Json,
            };
            let format = negotiate(parameter(&errand.query, "format"), accept, default);
            plain(pages::metrics(numbers, format))
        }
        Mounted::Report => plain(pages::report(numbers)),
        Mounted::Dashboard => dashboard(numbers, desk, errand),
    }
}

/// The page at the path of the mount, and below its base what the page reads. What tells of single
/// clients, or of how this is configured, is not there.
fn dashboard(numbers: &Arc<Numbers>, desk: &Desk, errand: &Errand) -> Page {
    let base = errand.mount.base().unwrap_or_default();
    if errand.path == errand.mount.path {
        return file(&dashboard::page(&base, Access::ReadOnly), errand);
    }
    let path = errand.path.strip_prefix(&base).unwrap_or_default();
    if let Some(asset) = dashboard::asset(path) {
        return file(&asset, errand);
    }
    let document = path.strip_prefix("api/v1/").and_then(|path| match path {
        "history" => history(numbers, &errand.query),
        "migrations" => {
            let none = json!({ "migrations": [] });
            Some(desk.migrations.as_ref().map_or(none, |it| json!(it.list())))
        }
        "autoscalers" => {
            let none = json!({ "autoscalers": [] });
            Some(desk.autoscalers.as_ref().map_or(none, |it| json!(it.list())))
        }
        path => {
            let (workers, state) = (numbers.workers(), desk.state());
            numbers.render(|view| document(path, &Portrait::of(view), (state, workers)))
        }
    });
    match document {
        Some(document) => of_json(200, document.to_string()),
        None => {
            let problem = json!({ "status": 404, "title": "Not Found", "type": "about:blank" });
            of_json(404, problem.to_string())
        }
    }
}

fn history(numbers: &Arc<Numbers>, query: &str) -> Option<serde_json::Value> {
    let uri = format!("/?{query}").parse::<Uri>().ok()?;
    let Query(named) = Query::<HashMap<String, String>>::try_from_uri(&uri).ok()?;
    let scope = Scope::named(|name| named.get(name).map(|it| Arc::from(it.as_str())))?;
    numbers.history(&scope).map(|history| json!(history))
}

fn document(
    path: &str,
    portrait: &Portrait<'_>,
    (state, workers): (api::State, usize),
) -> Option<serde_json::Value> {
    Some(match path {
        "status" => json!(portrait.status(state, workers)),
        "pools" => json!({ "pools": portrait.pools() }),
        "routes" => json!({ "routes": portrait.routes() }),
        "listeners" => json!({ "listeners": portrait.listeners() }),
        _ => return None,
    })
}

fn file(asset: &Asset, errand: &Errand) -> Page {
    let known = errand.if_none_match.as_deref().is_some_and(|tag| asset.is_known(tag));
    let text = |(name, value): (axum::http::HeaderName, axum::http::HeaderValue)| {
        let value = value.to_str().ok()?.to_owned();
        Some((name.as_str().to_owned().into(), value))
    };
    let fields = asset.fields().into_iter().filter_map(text).collect();
    let status = if known { 304 } else { 200 };
    Page { status, fields, body: asset.body.clone() }
}

fn of_json(status: u16, body: String) -> Page {
    plain(pages::Page { status, content_type: JSON, policy: None, body })
}

fn plain(page: pages::Page) -> Page {
    let fixed = [
        ("Content-Type", page.content_type),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let policy = page.policy.map(|policy| ("Content-Security-Policy", policy));
    let fields = fixed.into_iter().chain(policy);
    let fields = fields.map(|(name, value)| (name.into(), value.to_owned())).collect();
    Page { status: page.status, fields, body: page.body.into() }
}

/// The value of a parameter; nothing of what is looked for here is ever encoded.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
}
