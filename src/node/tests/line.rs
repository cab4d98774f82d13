//! A line between two sites in somebody else's hands: what passes is noted, and may be changed, dropped or said again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What becomes of a datagram: those that go on in its place.
pub(super) type Act = Arc<dyn Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + Sync>;

/// Somebody who sits between callers and one site.
pub(super) struct Line {
    pub(super) address: SocketAddr,
    passed: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    pub(super) async fn to(site: SocketAddr, act: Act) -> Self {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = near.local_addr().unwrap();
        let passed = Arc::default();
        let task = tokio::spawn(carry(near, site, Arc::clone(&passed), act));
        Self { address, passed, task }
    }

    /// All bytes that passed, both ways.
    pub(super) fn passed(&self) -> Vec<Vec<u8>> {
        self.passed.lock().unwrap().clone()
    }
}

async fn carry(near: Arc<UdpSocket>, site: SocketAddr, passed: Arc<Mutex<Vec<Vec<u8>>>>, act: Act) {
    let mut far: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut buffer = vec![0; 65_536];
    // Dropped with this task, and the ways back with it.
    let mut back = tokio::task::JoinSet::new();
    loop {
        let Ok((size, from)) = near.recv_from(&mut buffer).await else { continue };
        if let Entry::Vacant(new) = far.entry(from) {
            let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            new.insert(Arc::clone(&socket));
            let (near, passed, act) = (Arc::clone(&near), Arc::clone(&passed), Arc::clone(&act));
            back.spawn(async move {
                let mut buffer = vec![0; 65_536];
                loop {
                    let Ok(size) = socket.recv(&mut buffer).await else { continue };
                    let datagram = buffer[..size].to_vec();
                    passed.lock().unwrap().push(datagram.clone());
                    for datagram in act(datagram) {
                        drop(near.send_to(&datagram, from).await);
                    }
                }
            });
        }
        let datagram = buffer[..size].to_vec();
        passed.lock().unwrap().push(datagram.clone());
        for datagram in act(datagram) {
            drop(far[&from].send_to(&datagram, site).await);
        }
    }
}
