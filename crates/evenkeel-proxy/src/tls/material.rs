//! Everything that the files of one configuration say about TLS. It is made with a snapshot and
//! swapped with it, so that certificates change as one with what they are for.

use super::client::Connector;
use super::files::{Findings, TlsFault, TlsFaults};
use super::server::Acceptor;
use evenkeel_core::address::Scheme;
use evenkeel_core::plan::{Plan, PoolPlan};
use evenkeel_core::snapshot::Snapshot;
use std::collections::HashMap;
use std::sync::Arc;

/// The certificates, keys and authorities of one configuration.
#[derive(Debug, Default)]
pub struct Material {
    acceptors: HashMap<Arc<str>, Arc<Acceptor>>,
    connectors: HashMap<Arc<str>, Arc<Connector>>,
}

/// Until when a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The listener that shows it.
    pub listener: Arc<str>,
    /// The first name that it is for; empty if it has none.
    pub name: String,
    /// Seconds since 1970.
    pub not_after: i64,
}

/// Reads every file that a plan names, and tells what is wrong with them. `now`: seconds since
/// 1970.
pub fn examine(plan: &Plan, now: i64) -> Vec<TlsFault> {
    let mut findings = Findings::default();
    Material::collect(plan, None, now, &mut findings);
    findings.0
}

/// Until when the certificates of a snapshot's listeners are valid.
pub fn certificates(snapshot: &Snapshot) -> Vec<CertificateFacts> {
    Material::of(snapshot).certificates()
}

impl Material {
    /// Reads every file that a plan names. What has not changed since `before` is kept. `now`:
    /// seconds since 1970.
    ///
    /// # Errors
    /// Something that a listener or pool needs is missing or no good.
    pub fn read(plan: &Plan, before: Option<&Material>, now: i64) -> Result<Material, TlsFaults> {
        let mut findings = Findings::default();
        let material = Material::collect(plan, before, now, &mut findings);
        if findings.has_errors() { Err(TlsFaults(findings.0)) } else { Ok(material) }
    }

    fn collect(
        plan: &Plan,
        before: Option<&Material>,
        now: i64,
        findings: &mut Findings,
    ) -> Material {
        let mut material = Material::default();
        for (index, listener) in plan.listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            let path = format!("listeners[{index}].tls");
            let known = before.and_then(|before| before.acceptors.get(&listener.name));
            let mut own = Findings::default();
            let made = Acceptor::read((&path, tls), known, now, &mut own);
            findings.0.append(&mut own.0);
            material.acceptors.extend(made.map(|made| (Arc::clone(&listener.name), made)));
        }
        for (index, pool) in plan.pools.iter().enumerate().filter(|(_, pool)| is_secure(pool)) {
            let path = format!("pools[{index}].tls");
            let known = before.and_then(|before| before.connectors.get(&pool.name));
            let made = Connector::read((&path, pool), known, findings);
            material.connectors.extend(made.map(|made| (Arc::clone(&pool.name), made)));
        }
        material
    }

    /// What a snapshot was sealed with; of one that was made without files, nothing.
    pub(crate) fn of(snapshot: &Snapshot) -> &Material {
        static NOTHING: std::sync::OnceLock<Material> = std::sync::OnceLock::new();
        let sealed = snapshot.sealed.downcast_ref::<Material>();
        sealed.unwrap_or_else(|| NOTHING.get_or_init(Material::default))
    }

    /// True if both are made from the same bytes.
    pub(crate) fn is(&self, other: &Material) -> bool {
        fn same<T>(one: &Arc<T>, other: Option<&Arc<T>>) -> bool {
            other.is_some_and(|other| Arc::ptr_eq(one, other))
        }
        self.acceptors.len() == other.acceptors.len()
            && self.connectors.len() == other.connectors.len()
            && self.acceptors.iter().all(|(name, one)| same(one, other.acceptors.get(name)))
            && self.connectors.iter().all(|(name, one)| same(one, other.connectors.get(name)))
    }

    /// What a listener takes TLS clients with.
    pub(crate) fn acceptor(&self, listener: &str) -> Option<&Arc<Acceptor>> {
        self.acceptors.get(listener)
    }

    /// What a pool makes TLS connections with.
    pub(crate) fn connector(&self, pool: &str) -> Option<&Arc<Connector>> {
        self.connectors.get(pool)
    }

    /// Until when the certificates of all listeners are valid.
    fn certificates(&self) -> Vec<CertificateFacts> {
        let of = |(listener, acceptor): (&Arc<str>, &Arc<Acceptor>)| {
            let facts = |read: &super::files::CertificateRead| CertificateFacts {
                listener: Arc::clone(listener),
                name: read.names.first().cloned().unwrap_or_default(),
                not_after: read.not_after,
            };
            acceptor.certificates.iter().map(facts).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.acceptors.iter().flat_map(of).collect();
        all.sort_by(|a, b| (&a.listener, &a.name).cmp(&(&b.listener, &b.name)));
        all
    }
}

/// True if the pool makes TLS connections, or what it would need for them was written.
fn is_secure(pool: &PoolPlan) -> bool {
    let https =
        |backend: &evenkeel_core::plan::BackendPlan| backend.address.scheme == Scheme::Https;
    pool.backends.iter().any(https) || pool.tls != evenkeel_core::plan::PoolTlsPlan::default()
}
