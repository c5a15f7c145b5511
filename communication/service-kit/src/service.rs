//! A service as a whole: its routes, its health, its document, on two listeners.

use std::{io, net::SocketAddr, sync::Arc};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use identity::PublicHandshakes;
use mesh_policy::path::Slashes;
use mesh_proxy::{Handler, Mesh};
use serde::Serialize;
use serde_json::Value;

use crate::{
    admin::{self, Guarded},
    config::PortSharing,
    context::ServiceContext,
    export,
    faults::Faults,
    health::Health,
    openapi,
    operators::{Changes, PageDoor},
    routes::Routes,
    server::{Listening, Site, listen},
    stack::Stack,
    system::{Audience, Document, System},
};

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error("the database cannot be opened")]
    Store(#[source] store::OpenError),
    /// There is no log, which the service cannot be without.
    #[error("no address of the log was given")]
    NoLog,
    /// Another part of the service cannot start.
    #[error("{what} cannot start")]
    Part {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address cannot be listened on; most often another process has the port.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl From<messaging::SubscribeError> for StartError {
    fn from(error: messaging::SubscribeError) -> Self {
        Self::Part { what: "a subscription", source: error.into() }
    }
}

/// Where a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Where requests come in.
    pub http: SocketAddr,
    /// Where operators come in.
    pub admin: SocketAddr,
    /// Where requests come in over TLS, at a door for people outside.
    pub https: Option<SocketAddr>,
}

/// A further door for people outside, over TLS.
#[derive(Debug, Clone)]
pub struct SecureDoor {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it shows.
    pub handshakes: PublicHandshakes,
}

impl Bound {
    /// Base URL for other services.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Base URL for operators.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

/// What is served.
#[derive(Debug)]
pub struct Service {
    routes: Routes<()>,
    pages: Routes<()>,
    health: Health,
    openapi: Option<Value>,
    openapi_path: Option<&'static str>,
    store: Option<store::Store>,
    audience: Audience,
    mesh: Option<Mesh>,
    inbound: Option<Mesh>,
    secure: Option<SecureDoor>,
    door: Option<PageDoor>,
}

impl Service {
    /// These routes, without checks and document.
    #[must_use]
    pub fn new(routes: Routes<()>) -> Self {
        Self {
            routes,
            pages: Routes::new(),
            health: Health::new(),
            openapi: None,
            openapi_path: None,
            store: None,
            audience: Audience::Operators,
            mesh: None,
            inbound: None,
            secure: None,
            door: None,
        }
    }

    /// With a mesh whose routes and endpoints the operators may look at; else that of the client.
    #[must_use]
    pub fn mesh(self, mesh: &Mesh) -> Self {
        Self { mesh: Some(mesh.clone()), ..self }
    }

    /// With the mesh behind the doors for what comes in, whose requests the operators may listen to.
    #[must_use]
    pub fn inbound(self, mesh: &Mesh) -> Self {
        Self { inbound: Some(mesh.clone()), ..self }
    }

    /// With a further door for the same requests, over TLS.
    #[must_use]
    pub fn secure(self, door: Option<SecureDoor>) -> Self {
        Self { secure: door, ..self }
    }

    /// With checks of readiness.
    #[must_use]
    pub fn health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// With one more page at the operators' port, made anew at each look.
    #[must_use]
    pub fn shows(
        self,
        path: &'static str,
        page: impl Fn() -> Value + Clone + Send + Sync + 'static,
    ) -> Self {
        let look = move || {
            let shown = page();
            async move { admin::reply(&shown) }
        };
        Self { pages: self.pages.get(path, look), ..self }
    }

    /// With an OpenAPI document, served at `/openapi.json`, completed by what every service answers.
    #[must_use]
    pub fn openapi<D: Serialize>(self, document: &D) -> Self {
        // A document that cannot be written is a defect that the service's own test finds.
        Self { openapi: serde_json::to_value(document).ok(), ..self }
    }

    /// With the document at one more path, where clients of another framework look for it.
    #[must_use]
    pub fn openapi_at(self, path: &'static str) -> Self {
        Self { openapi_path: Some(path), ..self }
    }

    /// Reachable by anybody: of the pages that every service has, the port of requests serves health
    /// alone; the operators' port keeps them all.
    #[must_use]
    pub fn public(self) -> Self {
        Self { audience: Audience::Public, ..self }
    }

    /// A page by which operators change things, behind a door: what that answers is answered in the place of
    /// the page. What they do is told as at their port.
    #[must_use]
    pub fn for_operators(
        self,
        stop: impl Fn(&Method, &Uri, &HeaderMap) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        Self { door: Some(PageDoor::new(stop)), ..self }
    }

    /// With a store whose ledger of effects the operators may read.
    #[must_use]
    pub fn store(self, store: &store::Store) -> Self {
        Self { store: Some(store.clone()), ..self }
    }

    /// Listens on both addresses and answers from now on, until the context's tasks are drained.
    ///
    /// # Errors
    /// [`StartError`] when an address cannot be listened on.
    pub fn serve(mut self, context: &ServiceContext) -> Result<Bound, StartError> {
        if let Some(document) = &mut self.openapi {
            openapi::complete(document, self.routes.mutating(), self.audience);
        }
        let faults = Faults::default();
        let mut stack = stack_of(std::mem::take(&mut self.routes), context);
        stack.faults = faults.clone();
        stack.audience = self.audience;
        if let Some(door) = self.door.take() {
            stack.door = Some(door);
            stack.changes =
                Some(Changes::told_to(context.witness().cloned(), &context.config.instance));
        }
        stack.edge.clone_from(&context.config.edge);
        let guard = context.door().map(|it| (it, context.config.role.as_str()));
        self.open(context, faults, stack, (Slashes::Kept, guard))
    }

    /// The same with a handler in the place of routes: strangers come to it, so that no path may hide
    /// a slash from whoever judges it.
    ///
    /// # Errors
    /// [`StartError`] when an address cannot be listened on.
    pub fn serve_edge<H: Handler>(
        self,
        context: &ServiceContext,
        handler: H,
    ) -> Result<Bound, StartError> {
        self.open(context, Faults::default(), handler, (Slashes::Refused, None))
    }

    /// Serves requests alone, for a process whose operators come in at another service of it.
    ///
    /// # Errors
    /// [`StartError`] when the address cannot be listened on.
    pub fn serve_beside(mut self, context: &ServiceContext) -> Result<SocketAddr, StartError> {
        let config = &context.config;
        let handler = Arc::new(stack_of(std::mem::take(&mut self.routes), context));
        let system = System {
            health: self.health,
            telemetry: context.telemetry.clone(),
            openapi: None,
            audience: self.audience,
        };
        let at = Listening {
            address: config.http,
            sharing: config.sharing,
            guard: context.door().map(|it| (it, config.role.as_str())),
            ..by_itself(context)
        };
        listen("http", Site { handler, system }, at, &context.tasks)
            .map_err(|source| StartError::Bind { address: config.http, source })
    }

    /// Serves the operators alone, for a process that takes requests by other doors.
    ///
    /// # Errors
    /// [`StartError`] when the address cannot be listened on.
    pub fn serve_admin(self, context: &ServiceContext) -> Result<SocketAddr, StartError> {
        let system = System {
            health: self.health,
            telemetry: context.telemetry.clone(),
            openapi: None,
            audience: Audience::Operators,
        };
        let (mesh, inbound) = (self.mesh, self.inbound);
        let pages =
            Pages { own: self.pages, faults: Faults::default(), store: self.store, mesh, inbound };
        let (admin, _) = open_admin(context, pages, &system)?;
        if let Some(endpoint) = &context.config.trace_endpoint {
            export::start(endpoint, context);
        }
        Ok(admin)
    }

    fn open<H: Handler>(
        self,
        context: &ServiceContext,
        faults: Faults,
        handler: H,
        (slashes, guard): (Slashes, Option<(&Mesh, &str)>),
    ) -> Result<Bound, StartError> {
        let config = &context.config;
        let document =
            |it: Value| Document { text: Bytes::from(it.to_string()), path: self.openapi_path };
        let system = System {
            health: self.health,
            telemetry: context.telemetry.clone(),
            openapi: self.openapi.map(document),
            audience: Audience::Operators,
        };
        let (mesh, inbound) = (self.mesh, self.inbound);
        let own = self.pages;
        let pages = Pages { own, faults, store: self.store, mesh, inbound };
        let (admin, at) = open_admin(context, pages, &system)?;
        let refused = |address| move |source| StartError::Bind { address, source };
        let at = Listening { address: config.http, sharing: config.sharing, slashes, guard, ..at };
        let system = System { audience: self.audience, ..system };
        let site = Site { handler: Arc::new(handler), system };
        let secure = self.secure.map(|SecureDoor { address, handshakes }| {
            let at = Listening { address, presenting: Some(&handshakes), ..at };
            listen("https", site.clone(), at, &context.tasks).map_err(refused(address))
        });
        let https = secure.transpose()?;
        let http = listen("http", site, at, &context.tasks).map_err(refused(config.http))?;
        if let Some(endpoint) = &config.trace_endpoint {
            export::start(endpoint, context);
        }
        tracing::info!(%http, %admin, "listening");
        Ok(Bound { http, admin, https })
    }
}

/// What the operators' port shows.
struct Pages {
    own: Routes<()>,
    faults: Faults,
    store: Option<store::Store>,
    mesh: Option<Mesh>,
    inbound: Option<Mesh>,
}

/// How the operators' port listens: by itself, in plain text.
fn by_itself(context: &ServiceContext) -> Listening<'_> {
    let config = &context.config;
    Listening {
        address: config.admin,
        sharing: PortSharing::Exclusive,
        limits: &config.limits,
        slashes: Slashes::Kept,
        drain_delay: config.drain_delay,
        telemetry: &context.telemetry,
        guard: None,
        presenting: None,
    }
}

/// Opens the operators' port; answers where, and how it listens.
fn open_admin<'a>(
    context: &'a ServiceContext,
    pages: Pages,
    system: &System,
) -> Result<(SocketAddr, Listening<'a>), StartError> {
    let config = &context.config;
    let at = by_itself(context);
    let mesh = pages.mesh.unwrap_or_else(|| context.client().mesh().clone());
    let routes = admin::routes(&config.role, config.faults, pages.faults, pages.store);
    let shutdown = context.tasks.shutdown_signal();
    let door = pages.inbound.as_ref().or_else(|| context.door());
    let guarded = door.map(|it| Guarded {
        mesh: it.clone(),
        service: it.behind().unwrap_or(&config.role).to_owned(),
    });
    let mesh_routes = admin::mesh_routes(config.faults, mesh, pages.inbound, guarded, shutdown);
    let routes = routes.merge(mesh_routes).merge(pages.own);
    let mut stack = stack_of(routes, context);
    stack.operators = config.operators;
    stack.changes = Some(Changes::told_to(context.witness().cloned(), &context.config.instance));
    let site = Site { handler: Arc::new(stack), system: system.clone() };
    let refused = |source| StartError::Bind { address: config.admin, source };
    let admin = listen("admin", site, at, &context.tasks).map_err(refused)?;
    Ok((admin, at))
}

fn stack_of(routes: Routes<()>, context: &ServiceContext) -> Stack {
    let (router, table) = routes.into_parts();
    Stack::new(router, table, &context.config.limits, &context.telemetry)
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use callers::{Deed, Witness};
    use mesh_policy::{
        Policy,
        authorization::{Authorization, Mode},
    };
    use runtime::{SystemClock, Tasks};
    use telemetry::Telemetry;

    use super::*;
    use crate::{Call, Client, ServiceAddresses, ServiceConfig};

    #[tokio::test]
    async fn a_service_is_guarded_by_the_policy_in_force() {
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let config = ServiceConfig::new("orders", "orders-1", "/nonexistent");
        let mut context = ServiceContext::new(config, clock, telemetry.clone(), Tasks::new());
        let mesh = Mesh::new("orders", Policy::default(), &telemetry).unwrap();
        context.guard_by(&mesh);
        let routes = Routes::new().get("/x", || async { "here" });
        let bound = Service::new(routes).serve(&context).unwrap();
        let services = ServiceAddresses::new()
            .with("orders", bound.http_url())
            .with("operators", bound.admin_url());
        let client = Client::new(services, Duration::from_secs(5), telemetry);
        let get = async |service, path: &str| {
            client.call(Call::get(service, path.to_owned())).await.unwrap()
        };
        assert_eq!(get("orders", "/x").await.status, 200);
        let shut = Authorization {
            name: "shut".to_owned(),
            service: "orders".to_owned(),
            mode: Mode::Enforce,
            rules: Vec::new(),
        };
        mesh.replace(Policy { authorizations: vec![shut], ..Policy::default() }).unwrap();
        let refused = get("orders", "/x").await;
        assert_eq!(refused.status, 403);
        assert_eq!(refused.problem().unwrap().code, "forbidden");
        // Operators come in by a door of their own.
        let said = get("operators", "/authorization?path=/x").await.json().unwrap();
        assert_eq!((&said["verdict"], &said["reason"]), (&"denied".into(), &"no_identity".into()));
        let routes = get("operators", "/routes").await.json().unwrap();
        assert_eq!((&routes["guards"], &routes["identity"]), (&"orders".into(), &Value::Null));
    }

    #[tokio::test]
    async fn a_change_at_the_operators_port_needs_their_token_and_a_look_does_not() {
        let token = callers::ApiKey::draw().unwrap();
        let mut config = ServiceConfig::new("orders", "orders-1", "/nonexistent");
        config.operators = crate::Operators::Holding(token.digest());
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let mut context = ServiceContext::new(config, clock, telemetry.clone(), Tasks::new());
        let told: Arc<Mutex<Vec<_>>> = Arc::default();
        let hears = Arc::clone(&told);
        context.witnessed_by(Witness::new(move |Deed { what, decision, .. }| {
            hears.lock().unwrap().push((what, decision));
            Box::pin(std::future::ready(()))
        }));
        let routes = Routes::new().get("/x", || async { "here" });
        let bound = Service::new(routes).serve(&context).unwrap();
        let services = ServiceAddresses::new().with("operators", bound.admin_url());
        let client = Client::new(services, Duration::from_secs(5), telemetry);
        let asked = async |method: Method, shown: &str| {
            let call = Call::new("operators", method, "/admin/faults");
            let call = call.header(http::header::AUTHORIZATION, shown);
            client.call(call).await.unwrap().status.as_u16()
        };
        let bearer = format!("Bearer {}", token.reveal());
        for method in [Method::PUT, Method::DELETE] {
            assert_eq!(asked(method.clone(), "Bearer x").await, 401, "{method}");
            // Nobody may plant faults here.
            assert_eq!(asked(method.clone(), &bearer).await, 404, "{method}");
        }
        assert_eq!(asked(Method::GET, "").await, 404);
        let refused = |what: &str| (what.to_owned(), "refused: 404".to_owned());
        let expected =
            [refused("orders-1: PUT /admin/faults"), refused("orders-1: DELETE /admin/faults")];
        assert_eq!(*told.lock().unwrap(), expected, "a look and a stranger are not told");
    }
}
