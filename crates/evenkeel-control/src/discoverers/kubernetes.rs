//! Endpoints of a Kubernetes `Service`: its EndpointSlices are listed, then watched. What the API
//! has said last stays while it cannot be reached.

mod slices;

use super::{Teller, pause_after};
use crate::kubernetes::{Kubernetes, KubernetesError};
use evenkeel_core::plan::{DiscoveryPlan, KubernetesPlan};
use serde_json::Value;
use slices::Slices;
use tokio::time::{Instant, sleep};

/// Slices in a page of a list.
const PAGE: usize = 100;
/// Pages of one list.
const MAX_PAGES: usize = crate::limits::MAX_SLICES / PAGE + 1;

/// Tells which endpoints are ready, at once and whenever that changes.
pub(super) async fn ask(plan: &DiscoveryPlan, keys: &KubernetesPlan, teller: &Teller) {
    let mut asking =
        Asking { keys, plan, teller, slices: Slices::new(&keys.port, plan.scheme), failures: 0 };
    loop {
        let trouble = asking.follow().await;
        asking.failures = asking.failures.saturating_add(1);
        if !trouble.is_gone() {
            teller.tell(Err(trouble.to_string())).await;
        }
        sleep(pause_after(asking.failures, plan.interval)).await;
    }
}

struct Asking<'a> {
    keys: &'a KubernetesPlan,
    plan: &'a DiscoveryPlan,
    teller: &'a Teller,
    slices: Slices,
    /// Since the last good list.
    failures: u32,
}

impl Asking<'_> {
    fn api(&self) -> Result<Kubernetes, KubernetesError> {
        match &self.keys.server {
            None => Kubernetes::around_us(),
            Some(server) => {
                let (token, ca) = (self.keys.token_file.clone(), self.keys.ca_file.clone());
                Ok(Kubernetes::at(server, token, ca))
            }
        }
    }

    fn path(&self) -> String {
        let KubernetesPlan { namespace, service, .. } = self.keys;
        format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices\
             ?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
        )
    }

    /// Lists and watches until something goes wrong.
    async fn follow(&mut self) -> KubernetesError {
        match self.list_and_watch().await {
            Err(trouble) => trouble,
            Ok(never) => match never {},
        }
    }

    async fn list_and_watch(&mut self) -> Result<std::convert::Infallible, KubernetesError> {
        let api = self.api()?;
        let path = self.path();
        let mut version = self.list(&api, &path).await?;
        self.tell().await;
        self.failures = 0;
        loop {
            let began = Instant::now();
            let mut watch = api.watch(&path, &version).await?;
            while let Some(event) = watch.next().await? {
                if let Some(newer) = event.version() {
                    newer.clone_into(&mut version);
                }
                self.slices.apply(&event).map_err(KubernetesError::Unreachable)?;
                self.tell().await;
            }
            // One that ends at once is not begun again at once.
            sleep(self.plan.interval.saturating_sub(began.elapsed())).await;
        }
    }

    /// Reads the whole list, page by page; tells the version that it has.
    async fn list(&mut self, api: &Kubernetes, path: &str) -> Result<String, KubernetesError> {
        let mut all = Vec::new();
        let mut next = String::new();
        for _ in 0..MAX_PAGES {
            let page = api.get(&format!("{path}&limit={PAGE}{next}")).await?;
            let nonsense = || KubernetesError::Unreachable("the answer is no list".to_owned());
            let version = page["metadata"]["resourceVersion"].as_str().ok_or_else(nonsense)?;
            let version = version.to_owned();
            let rest = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            let Some(Value::Array(items)) = page.get("items") else { return Err(nonsense()) };
            all.extend(items.iter().cloned());
            if rest.is_empty() {
                self.slices.replace(&all).map_err(KubernetesError::Unreachable)?;
                return Ok(version);
            }
            let rest =
                percent_encoding::utf8_percent_encode(&rest, percent_encoding::NON_ALPHANUMERIC);
            next = format!("&continue={rest}");
        }
        Err(KubernetesError::Unreachable(format!("the list has more than {MAX_PAGES} pages")))
    }

    async fn tell(&self) {
        self.teller.tell(self.slices.found()).await;
    }
}

#[cfg(test)]
mod tests;
