//! A source of the control plane: the EndpointSlices of a namespace, as Kubernetes' API tells of them.
//!
//! They are listed anew every two seconds, from what the API server has at hand (`resourceVersion=0`): a list
//! says everything, and nothing has to be put together again after a watch that broke. What it is asked with
//! is read anew each time, since tokens are exchanged. A list that does not come whole changes nothing.

mod slices;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{StatusCode, header::AUTHORIZATION};
use identity::PublicTrust;
use mesh_control::sources::{Contribution, Source};
use service_kit::{Call, Client, ServiceAddresses, segment};
use telemetry::Telemetry;

use crate::{Failure, failure::chain};

use slices::{Found, SliceList};

/// Where a pod finds what it may ask with.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the API is called in calls.
const API: &str = "kubernetes";
const EVERY: Duration = Duration::from_secs(2);
/// The time that one page gets.
const PAGE_WITHIN: Duration = Duration::from_secs(5);
/// Slices of a page: a hundred endpoints each, a page is below a megabyte.
const PAGE_SLICES: u32 = 20;
/// Pages of a list that are read.
const PAGES_MAX: u32 = 500;

/// The EndpointSlices of a namespace.
#[derive(Debug)]
pub struct EndpointSlices {
    client: Client,
    namespace: String,
    /// The file of the token; none is shown where there is no such file.
    token: PathBuf,
}

impl EndpointSlices {
    /// Those of the cluster that this process runs in, or of the API at this address, such as that of
    /// `kubectl proxy`.
    ///
    /// # Errors
    /// No address is told and this is no cluster, or the cluster's authority cannot be read.
    pub fn of(namespace: &str, api: Option<&str>) -> Result<Self, Failure> {
        let variable = |name: &str| env::var(name).ok().filter(|it| !it.is_empty());
        let here = variable("KUBERNETES_SERVICE_HOST").zip(variable("KUBERNETES_SERVICE_PORT"));
        let address = match (api, here) {
            (Some(address), _) => address.trim_end_matches('/').to_owned(),
            (None, Some((host, port))) => format!("https://{}", authority(&host, &port)),
            (None, None) => {
                let failure = Failure::new("bad_argument", "this process runs in no cluster");
                return Err(failure.next("--kubernetes-api URL, such as that of `kubectl proxy`"));
            }
        };
        let account = Path::new(ACCOUNT);
        let vouches = account.join("ca.crt");
        let trust = address.starts_with("https://").then(|| {
            PublicTrust::load(vouches.is_file().then_some(vouches.as_path())).map_err(|it| {
                let what = "nobody can be believed to be the API of Kubernetes";
                Failure::new("start_failed", what).because(chain(&it)).at(vouches.display())
            })
        });
        let addresses = ServiceAddresses::new().with(API, address);
        let client =
            Client::believing(addresses, PAGE_WITHIN, Telemetry::disabled(), trust.transpose()?);
        Ok(Self { client, namespace: namespace.to_owned(), token: account.join("token") })
    }

    async fn page(&self, goes_on: Option<&str>) -> Result<SliceList, String> {
        let namespace = segment(&self.namespace);
        let mut path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?limit={PAGE_SLICES}"
        );
        match goes_on {
            Some(token) => path += &format!("&continue={}", segment(token)),
            None => path += "&resourceVersion=0",
        }
        let mut call = Call::get(API, path);
        if let Ok(token) = fs::read_to_string(&self.token) {
            call = call.header(AUTHORIZATION, &format!("Bearer {}", token.trim()));
        }
        let reply = self.client.call(call).await.map_err(|it| chain(&it))?;
        if reply.status != StatusCode::OK {
            return Err(format!("the API answers {}", reply.status.as_u16()));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|it| format!("what the API answers is no list of EndpointSlices: {it}"))
    }
}

/// Host and port as a URL has them.
fn authority(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Source for EndpointSlices {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn every(&self) -> Duration {
        EVERY
    }

    async fn look(&mut self) -> Result<Contribution, String> {
        let (mut found, mut goes_on) = (Found::default(), None::<String>);
        for _ in 0..PAGES_MAX {
            let page = self.page(goes_on.as_deref()).await?;
            goes_on = page.goes_on().map(str::to_owned);
            page.add_to(&mut found);
            if goes_on.is_none() {
                return Ok(Contribution { documents: Vec::new(), sets: found.sets() });
            }
        }
        Err(format!("the list of EndpointSlices has more than {PAGES_MAX} pages"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;
    use runtime::Tasks;
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::Mutex,
    };

    use super::*;

    /// An API with these answers, one a request; what it was asked for.
    async fn api(answers: Vec<(u16, Value)>, tasks: &Tasks) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        tasks.spawn("api", |_| async move {
            for (status, answer) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).await.unwrap();
                    request.push(byte[0]);
                }
                let line = String::from_utf8(request).unwrap().lines().next().unwrap().to_owned();
                seen.lock().await.push(line);
                let body = answer.to_string();
                let reply = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        (address, asked)
    }

    fn page(address: &str, goes_on: &str) -> Value {
        let labels = json!({"kubernetes.io/service-name": "cart"});
        json!({
            "metadata": {"continue": goes_on},
            "items": [{
                "metadata": {"labels": labels}, "ports": [{"port": 80}],
                "endpoints": [{"addresses": [address]}],
            }],
        })
    }

    #[tokio::test]
    async fn all_pages_are_read_and_a_list_that_breaks_off_is_none() {
        let tasks = Tasks::new();
        let refused = (410, json!({"kind": "Status"}));
        let answers = vec![
            (200, page("10.0.0.1", "a/b=")),
            (200, page("10.0.0.2", "")),
            (200, page("10.0.0.3", "more")),
            refused,
        ];
        let (address, asked) = api(answers, &tasks).await;
        let mut slices = EndpointSlices::of("shop", Some(&address)).unwrap();
        let said = slices.look().await.unwrap();
        let found: Vec<String> =
            said.sets["cart"].endpoints.iter().map(|it| it.address.to_string()).collect();
        assert_eq!(found, ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(slices.look().await, Err("the API answers 410".to_owned()));
        let of = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?limit=20";
        let get = Method::GET;
        let first = format!("{get} {of}&resourceVersion=0 HTTP/1.1");
        let second = format!("{get} {of}&continue=a%2Fb%3D HTTP/1.1");
        let asked = asked.lock().await;
        assert_eq!(asked[..3], [first.clone(), second, first]);
    }

    #[test]
    fn an_address_of_six_stands_in_brackets() {
        assert_eq!(authority("10.0.0.1", "443"), "10.0.0.1:443");
        assert_eq!(authority("fd00::1", "443"), "[fd00::1]:443");
    }
}
