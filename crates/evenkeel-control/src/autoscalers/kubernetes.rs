//! Backends as pods of a deployment: its scale subresource is read and patched. Which pods there
//! are, discovery tells.

use crate::kubernetes::Kubernetes;
use serde_json::{Value, json};

/// A deployment that is scaled.
#[derive(Clone, Copy)]
pub(super) struct Deployment<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Deployment<'_> {
    fn scale(&self) -> String {
        let Deployment { namespace, name } = self;
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale")
    }
}

/// How many pods there should be, as the cluster has it.
///
/// # Errors
/// What the API says.
pub(super) async fn count(api: &Kubernetes, of: Deployment<'_>) -> Result<u32, String> {
    let scale = api.get(&of.scale()).await.map_err(|error| why(of, &error))?;
    replicas(of, &scale)
}

/// Says how many pods there should be; to say the same twice changes nothing.
///
/// # Errors
/// What the API says.
pub(super) async fn set(api: &Kubernetes, of: Deployment<'_>, count: u32) -> Result<(), String> {
    let patch = json!({ "spec": { "replicas": count } });
    let scale = api.patch(&of.scale(), &patch).await.map_err(|error| why(of, &error))?;
    match replicas(of, &scale)? {
        now if now == count => Ok(()),
        now => Err(why(of, &format!("{count} replicas were asked for, and there are to be {now}"))),
    }
}

/// A scale without a number of replicas has none (`omitempty`); what is no scale says nothing.
fn replicas(of: Deployment<'_>, scale: &Value) -> Result<u32, String> {
    if scale["kind"] != "Scale" {
        return Err(why(of, &"the answer is no Scale; is that the API server?"));
    }
    let count = &scale["spec"]["replicas"];
    Ok(count.as_u64().map_or(0, |it| u32::try_from(it).unwrap_or(u32::MAX)))
}

fn why(of: Deployment<'_>, error: &dyn std::fmt::Display) -> String {
    format!("deployment {}/{}: {error}", of.namespace, of.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Line, Scripted};

    const APP: Deployment<'_> = Deployment { namespace: "prod", name: "app" };
    const PATH: &str = "/apis/apps/v1/namespaces/prod/deployments/app/scale";

    #[tokio::test]
    async fn a_deployment_is_read_and_scaled_over_tls_with_the_account_of_the_pod() {
        let script = vec![
            Line::json(r#"{"kind": "Scale", "spec": {"replicas": 2}, "status": {"replicas": 1}}"#),
            Line::json(r#"{"kind": "Scale", "spec": {}, "status": {"replicas": 0}}"#),
            Line::json(r#"{"kind": "Scale", "spec": {"replicas": 3}}"#),
            Line::json(r#"{"kind": "Scale", "spec": {"replicas": 4}}"#),
            Line::answer("403 Forbidden", "", r#"{"message": "deployments/scale is forbidden"}"#),
            Line::json(r#"{"maintenance": true}"#),
        ];
        let (server, ca) = Scripted::start_tls(script).await;
        let folder = tempfile::tempdir().unwrap();
        let (token, ca_file) = (folder.path().join("token"), folder.path().join("ca.crt"));
        std::fs::write(&token, "first").unwrap();
        std::fs::write(&ca_file, ca).unwrap();
        let api = Kubernetes::at(&server.url, Some(token.clone()), Some(ca_file));
        assert_eq!(count(&api, APP).await, Ok(2));
        assert_eq!(count(&api, APP).await, Ok(0));
        // The kubelet replaces tokens while we run.
        std::fs::write(&token, "second").unwrap();
        assert_eq!(set(&api, APP, 3).await, Ok(()));
        let other = set(&api, APP, 3).await.unwrap_err();
        assert_eq!(other, "deployment prod/app: 3 replicas were asked for, and there are to be 4");
        let refused = set(&api, APP, 5).await.unwrap_err();
        assert_eq!(refused, "deployment prod/app: 403 deployments/scale is forbidden");
        let strange = count(&api, APP).await.unwrap_err();
        let told = "deployment prod/app: the answer is no Scale; is that the API server?";
        assert_eq!(strange, told);
        let asked = server.asked();
        assert!(asked[0].starts_with(&format!("GET {PATH} HTTP/1.1\r\n")), "{asked:?}");
        assert!(asked[0].contains("authorization: Bearer first\r\n"), "{asked:?}");
        assert!(asked[2].starts_with(&format!("PATCH {PATH} HTTP/1.1\r\n")), "{asked:?}");
        assert!(asked[2].contains("authorization: Bearer second\r\n"), "{asked:?}");
        assert!(asked[2].ends_with(r#"{"spec":{"replicas":3}}"#), "{asked:?}");
    }
}
