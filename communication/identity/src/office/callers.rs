//! Who comes to the socket, and what he is answered.

use std::{sync::Arc, time::Duration};

use runtime::{Shutdown, Tasks};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::Office;
use crate::{
    authority::{IssueError, Issued},
    bundle::SignedBundle,
    order::Order,
    pem,
    refusal::Refusal,
    token::Caller,
    wire::{self, REQUEST_BYTES_MAX, Reply, Request, TELLING_BYTES_MAX},
};

/// Callers that are served at once; the next ones wait in the kernel.
const CALLERS_MAX: usize = 64;
/// A caller that has not said its request, or taken its reply, by then is left.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failure of `accept`: most often descriptors are short, and looking at once costs a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Office {
    pub(super) async fn accept_all(
        self,
        listener: UnixListener,
        callers: Tasks,
        shutdown: Shutdown,
    ) {
        let places = Arc::new(Semaphore::new(CALLERS_MAX));
        loop {
            // Cancel-safe: an accepted connection is returned by the poll that accepts it.
            let accepting = async {
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                Some((listener.accept().await, place))
            };
            let Some(Some((accepted, place))) = shutdown.or_cancel(accepting).await else { return };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let office = self.clone();
            callers.spawn("authority caller", |_| async move {
                let _place = place;
                if timeout(CALL_TIMEOUT, office.serve_one(stream)).await.is_err() {
                    office.0.requests.with(&["unknown", "timed_out"]).inc();
                }
            });
        }
    }

    async fn serve_one(&self, mut stream: UnixStream) {
        let credentials = stream.peer_cred().ok();
        let caller = credentials
            .and_then(|it| Some(Caller { uid: it.uid(), pid: u32::try_from(it.pid()?).ok()? }));
        // A bundle is long: it is read of those alone whom somebody knows here.
        let is_known = caller.is_some_and(|it| self.lock().lets_in(it.uid));
        let bytes_max = if is_known { TELLING_BYTES_MAX } else { REQUEST_BYTES_MAX };
        let request = wire::read::<Request>(&mut stream, bytes_max).await;
        let (Some(caller), Ok(request)) = (caller, request) else {
            self.0.requests.with(&["unknown", "malformed"]).inc();
            return;
        };
        let asked = request.as_str();
        let reply = self.answer(caller, request);
        let outcome = if matches!(reply, Reply::Refused { .. }) { "refused" } else { "done" };
        self.0.requests.with(&[asked, outcome]).inc();
        // A caller that is gone asks again.
        let _gone = wire::write(&mut stream, &reply).await;
    }

    pub(super) fn takes_orders_of(&self, uid: u32) -> bool {
        self.0.orders_of.get().is_some_and(|it| [*it, 0].contains(&uid))
    }

    fn ordered(&self, caller: Caller, order: &Order) -> Reply {
        let done = match self.takes_orders_of(caller.uid) {
            true => self.carry_out(order).map_err(|it| it.to_string()),
            false => {
                Err("orders are taken of the user alone that the authority runs as".to_owned())
            }
        };
        if let Some(deed) = order.deed() {
            let (denied, refused) =
                (done.as_ref().ok().and_then(|it| order.denied(it)), done.as_ref().err());
            info!(deed, denied, pid = caller.pid, uid = caller.uid, refused, "an order");
        }
        match done {
            Ok(on) => Reply::Stands { on },
            Err(reason) => Reply::Refused { reason },
        }
    }

    fn answer(&self, caller: Caller, request: Request) -> Reply {
        let now = self.0.clock.now();
        let asked = request.as_str();
        let issued = match request {
            Request::Order { order } => return self.ordered(caller, &order),
            Request::Look { version } => {
                let bundle = self.lock().bundle();
                let bundle = (bundle.version != version).then_some(bundle);
                return Reply::Trust { bundle, now };
            }
            Request::LookSigned {} => return self.signed(),
            Request::Tell { signed } => return self.hear(caller, signed),
            Request::Join { token, request } => self.lock().join(caller, &token, &request.0, now),
            Request::Claim { id, request } => self.lock().claim(caller, id, &request.0, now),
            Request::Renew { chain, request, proof } => match pem::certificates(&chain) {
                Some(chain) => self.lock().renew(caller, &chain, &request.0, &proof.0, now),
                None => Err(IssueError::Refused(Refusal::Malformed)),
            },
        };
        match issued {
            Ok(Issued { chain, bundle }) => {
                let chain = chain.iter().map(pem::certificate).collect();
                Reply::Issued { chain, bundle, now }
            }
            Err(error) => {
                warn!(asked, pid = caller.pid, uid = caller.uid, %error, "no identity was issued");
                Reply::Refused { reason: error.to_string() }
            }
        }
    }

    fn signed(&self) -> Reply {
        match self.lock().signed() {
            Ok(signed) => Reply::Signed { signed: Arc::unwrap_or_clone(signed) },
            Err(error) => Reply::Refused { reason: error.to_string() },
        }
    }

    /// Takes in whom to trust, as a process had it of a control plane. Who tells it is no matter: the anchors
    /// signed it.
    fn hear(&self, caller: Caller, signed: SignedBundle) -> Reply {
        let mut authority = self.lock();
        let heard = match authority.hear(signed) {
            Ok(false) => return Reply::Heard {},
            Ok(true) => self.save(&mut authority).map_err(|it| it.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let version = authority.bundle().version;
        drop(authority);
        match heard {
            Ok(()) => {
                info!(version, "the branch has heard whom to trust");
                Reply::Heard {}
            }
            Err(reason) => {
                warn!(pid = caller.pid, uid = caller.uid, reason, "what was told is not believed");
                Reply::Refused { reason }
            }
        }
    }
}
