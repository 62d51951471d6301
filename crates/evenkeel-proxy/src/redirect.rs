//! A listener that sends every request elsewhere: another scheme or port, the same host, path and
//! query.

use crate::admit::Asked;
use crate::mount::Page;
use bytes::Bytes;
use evenkeel_core::failure::Failure;
use evenkeel_core::plan::RedirectPlan;

/// The answer to one request; `path` is spelt as it would be forwarded.
///
/// # Errors
/// The request names no host to go to.
pub(crate) fn page(plan: &RedirectPlan, asked: Asked<'_>, path: &[u8]) -> Result<Page, Failure> {
    let Asked { head, bytes, .. } = asked;
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let host = text(head.host.of_buf(bytes));
    if host.is_empty() {
        return Err(Failure::BadRequest);
    }
    let (scheme, usual) = if plan.secure { ("https", 443) } else { ("http", 80) };
    let port = if plan.port == usual { String::new() } else { format!(":{}", plan.port) };
    // `OPTIONS *` asks about the whole host.
    let path = if path.starts_with(b"/") { text(path) } else { "/".to_owned() };
    let query = text(head.query.of_buf(bytes));
    let location = format!("{scheme}://{host}{port}{path}{query}");
    let fields = vec![("Location".into(), location)];
    Ok(Page { status: plan.status, fields, body: Bytes::new() })
}
