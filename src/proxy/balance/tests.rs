use super::*;

fn balancer(count: u16, balance: Balance) -> Balancer {
    let addresses: Vec<Address> =
        (1..=count).map(|port| Address::Host("127.0.0.1".to_owned(), port)).collect();
    Balancer::new(&addresses, balance)
}

/// How often each target is chosen.
fn tally(balancer: &Balancer, rounds: usize, now: u64) -> Vec<usize> {
    let mut tally = vec![0; balancer.targets.len()];
    for _ in 0..rounds {
        tally[balancer.choose(0, now)] += 1;
    }
    tally
}

fn port(address: &SocketAddr) -> u16 {
    address.as_inet().unwrap().port()
}

#[test]
fn round_robin_is_even_also_among_those_that_are_left() {
    let balancer = balancer(3, Balance::RoundRobin);
    assert_eq!(tally(&balancer, 30, 1), [10, 10, 10]);
    balancer.targets[1].failed(1, &"refused");
    assert_eq!(tally(&balancer, 30, 1), [15, 0, 15]);
    balancer.targets[2].set_healthy(false);
    assert_eq!(tally(&balancer, 30, 1), [30, 0, 0]);
}

#[test]
fn when_none_seems_well_all_are_used() {
    let balancer = balancer(2, Balance::RoundRobin);
    balancer.targets.iter().for_each(|target| target.set_healthy(false));
    assert_eq!(tally(&balancer, 10, 1), [5, 5]);
}

#[test]
fn after_a_while_one_request_tries_what_failed() {
    let balancer = balancer(2, Balance::RoundRobin);
    balancer.targets[0].failed(1, &"refused");
    assert_eq!(tally(&balancer, 10, 5000), [0, 10]);
    assert_eq!(tally(&balancer, 10, 5001), [1, 9]);
    balancer.targets[0].reached();
    assert_eq!(tally(&balancer, 10, 5001), [5, 5]);
}

#[tokio::test]
async fn the_fewest_connections_come_next() {
    let balancer = balancer(3, Balance::LeastConnections);
    let mut open = Vec::new();
    for _ in 0..9 {
        let mut attempts = Attempts::default();
        balancer.next(&mut attempts).await.unwrap();
        open.push(attempts);
    }
    let under_way = |index: usize| balancer.targets[index].in_flight.load(Ordering::Relaxed);
    assert_eq!([0, 1, 2].map(under_way), [3, 3, 3]);
    open.retain(|attempts| attempts.now.as_ref().unwrap().index != 1);
    assert_eq!([0, 1, 2].map(under_way), [3, 0, 3]);
    for _ in 0..3 {
        let mut attempts = Attempts::default();
        assert_eq!(port(&balancer.next(&mut attempts).await.unwrap()), 2);
        open.push(attempts);
    }
    drop(open);
    assert_eq!([0, 1, 2].map(under_way), [0, 0, 0]);
}

#[tokio::test]
async fn each_address_is_tried_once() {
    let balancer = balancer(3, Balance::RoundRobin);
    let mut attempts = Attempts::default();
    let mut ports = Vec::new();
    loop {
        ports.push(port(&balancer.next(&mut attempts).await.unwrap()));
        if !balancer.failed(&mut attempts, &"refused") {
            break;
        }
    }
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
}

#[tokio::test]
async fn a_single_address_is_never_avoided() {
    let balancer = balancer(1, Balance::LeastConnections);
    let mut attempts = Attempts::default();
    assert_eq!(port(&balancer.next(&mut attempts).await.unwrap()), 1);
    assert!(!balancer.failed(&mut attempts, &"refused"));
    assert!(balancer.targets[0].open(1));
    assert_eq!(port(&balancer.next(&mut Attempts::default()).await.unwrap()), 1);
}

#[tokio::test]
async fn a_name_that_is_not_known_leaves_the_others() {
    let unknown = Address::Host("no-such-host.invalid".to_owned(), 80);
    let known = Address::Host("127.0.0.1".to_owned(), 7);
    let balancer = Balancer::new(&[unknown.clone(), known], Balance::RoundRobin);
    for _ in 0..4 {
        assert_eq!(port(&balancer.next(&mut Attempts::default()).await.unwrap()), 7);
    }
    let alone = Balancer::new(&[unknown], Balance::RoundRobin);
    assert!(alone.next(&mut Attempts::default()).await.unwrap_err().contains("no-such-host.invalid"));
}

#[test]
fn as_many_addresses_as_the_configuration_takes_have_a_bit_each() {
    let balancer = balancer(64, Balance::RoundRobin);
    assert_eq!(balancer.all(), u64::MAX);
    assert_eq!(tally(&balancer, 64, 1), [1; 64]);
}
