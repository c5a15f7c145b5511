//! A small HTTP client for tests: one call, one reply, JSON where it is JSON.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::doors::Doors;

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON, null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header's text, empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }
}

/// Why no reply came.
pub(crate) type NoReply = String;

#[derive(Debug, Clone)]
pub(crate) struct Http {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Those of the system under test, which may ask who comes in.
    doors: Option<Doors>,
}

impl Http {
    pub(crate) fn new() -> Self {
        // A connection for each call: one that is kept may be that of a process which was killed.
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(0);
        Self { plain: builder.build_http(), doors: None }
    }

    /// The same client, which enters these doors as an operator where they ask, and the gateway by the key of
    /// profile demo where a call says nothing else.
    pub(crate) fn entering(doors: Doors) -> Self {
        Self { doors: Some(doors), ..Self::new() }
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, NoReply> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(body.into())).unwrap();
        let port = request.uri().port_u16().unwrap_or(80);
        if !request.headers().contains_key(AUTHORIZATION)
            && let Some(key) = self.doors.as_ref().and_then(|it| it.key(port))
        {
            request.headers_mut().insert(AUTHORIZATION, key);
        }
        let strict = self.doors.as_ref().and_then(|it| Some((it, it.strict(port)?)));
        let call = async {
            let answered = match strict {
                Some((doors, service)) => Box::pin(doors.send(service, port, request)).await,
                None => self.plain.request(request).await.map_err(|it| format!("{it:?}")),
            };
            let (head, body) = answered?.into_parts();
            let body = body.collect().await.map_err(|it| format!("{it:?}"))?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(Duration::from_secs(30), call)
            .await
            .unwrap_or_else(|_| Err("no reply within 30 s".to_owned()))
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> impl Future<Output = Reply> {
        let caller = std::panic::Location::caller();
        let call = self.try_send(method.clone(), url, headers, body);
        async move { call.await.unwrap_or_else(|it| panic!("{caller}: {method} {url}: {it}")) }
    }

    #[track_caller]
    pub(crate) fn get(&self, url: &str) -> impl Future<Output = Reply> {
        self.send(Method::GET, url, &[], "")
    }

    #[track_caller]
    pub(crate) fn json(
        &self,
        method: Method,
        url: &str,
        body: &Value,
    ) -> impl Future<Output = Reply> {
        self.send(method, url, &[("content-type", "application/json")], body.to_string())
    }
}
