//! The system's resolver, against a name server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    proto::{
        op::{Message, ResponseCode},
        rr::{Name, RData, Record as ResourceRecord, rdata::SRV},
    },
};
use mesh_control::sources::dns::{Record, Resolve as _, SystemResolver};
use runtime::Tasks;
use tokio::net::UdpSocket;

const SERVICE: &str = "_http._tcp.cart.internal.";

/// Answers for one service, and that there is no other.
async fn name_server(records: Vec<SRV>, tasks: &Tasks) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tasks.spawn("name server", move |shutdown| async move {
        let mut bytes = [0; 4_096];
        while let Some(Ok((length, asker))) = shutdown.or_cancel(socket.recv_from(&mut bytes)).await
        {
            let asked = Message::from_vec(&bytes[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
            if query.name().to_ascii() == SERVICE {
                let record = |it: &SRV| {
                    ResourceRecord::from_rdata(query.name().clone(), 60, RData::SRV(it.clone()))
                };
                answer.add_answers(records.iter().map(record));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_query(query);
            let _gone = socket.send_to(&answer.to_vec().unwrap(), asker).await;
        }
    });
    address
}

fn asking(server: SocketAddr) -> SystemResolver {
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
    SystemResolver::asking(ResolverConfig::from_parts(None, Vec::new(), vec![server]))
}

#[tokio::test]
async fn service_records_are_read_from_a_name_server_and_the_root_stands_for_nobody() {
    let tasks = Tasks::new();
    let target = |text: &str| Name::from_ascii(text).unwrap();
    let records = vec![
        SRV::new(10, 3, 8_080, target("a.cart.internal.")),
        SRV::new(20, 0, 81, target("b.cart.internal.")),
        SRV::new(0, 0, 0, Name::root()),
    ];
    let resolver = asking(name_server(records, &tasks).await);
    let mut found = resolver.records(SERVICE).await.unwrap();
    found.sort_by_key(|it| it.priority);
    let record =
        |priority, weight, target: &str| Record { priority, weight, target: target.to_owned() };
    let expected = [record(10, 3, "a.cart.internal.:8080"), record(20, 0, "b.cart.internal.:81")];
    assert_eq!(found, expected);
    resolver.records("_http._tcp.nobody.internal.").await.unwrap_err();
    let addresses = resolver.addresses("127.0.0.1:80").await.unwrap();
    assert_eq!(addresses, [SocketAddr::from(([127, 0, 0, 1], 80))]);
}
