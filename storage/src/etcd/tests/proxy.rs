//! A way to a member that can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to an address, unless it is cut: then those that there are end and new ones too.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    cut: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub(super) async fn start(to: String) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), Arc::new(watch::Sender::new(false)));
        let signal = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (to, mut signal) = (to.clone(), signal.subscribe());
                tokio::spawn(async move {
                    if *signal.borrow() {
                        return;
                    }
                    let Ok(mut onward) = TcpStream::connect(to).await else { return };
                    let forwarding = tokio::io::copy_bidirectional(&mut from, &mut onward);
                    tokio::select! { _ = forwarding => {}, _ = signal.wait_for(|cut| *cut) => {} }
                });
            }
        });
        Proxy { address, cut }
    }

    pub(super) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}
