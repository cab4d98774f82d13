//! Receivers behind TLS: only one whose certificate is trusted is told anything.

use std::io::{Read, Write};
use std::net::TcpListener;

use data_encoding::BASE64;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use super::*;

/// Of 127.0.0.1, signed by itself, for a hundred years.
const CERTIFICATE: &str = "\
    MIIBizCCATGgAwIBAgIUZvU/mol6m1fkD5aiFMmzR+1kO+kwCgYIKoZIzj0EAwIwEzERMA8GA1UEAwwIcmVjZWl2ZXIwIBcNMjYx\
    MTI3MDcxNTMwWhgPMjEyNjExMDMwNzE1MzBaMBMxETAPBgNVBAMMCHJlY2VpdmVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\
    T1mEduuMxm3zvrCv8yJtj52L6rtQdzJ9+MXlvqLvP6mCrx3h25bDSlaSy4Dg2ySjGL7gQifnqKQ7ApscsKF80KNhMF8wHQYDVR0O\
    BBYEFBv56981p6W2HXUWOVYJg27BHO2yMB8GA1UdIwQYMBaAFBv56981p6W2HXUWOVYJg27BHO2yMA8GA1UdEQQIMAaHBH8AAAEw\
    DAYDVR0TAQH/BAIwADAKBggqhkjOPQQDAgNIADBFAiBcEQiMtWwU3d/nI5k9K6z6CRM4z9dF4gss1oSrbnKsjgIhAPHOzR1L8zJu\
    iRJDRy7CYafRP0Yb2wSk2GU1EbYIBTIb\
    ";

/// Its key, which opens nothing.
const KEY: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVBNFSCwNcCJLDhB+Vs6s0RTPKbo48oAWyXU/Xtc6/W+hRANCAARP\
    WYR264zGbfO+sK/zIm2PnYvqu1B3Mn34xeW+ou8/qYKvHeHblsNKVpLLgODbJKMYvuBCJ+eopDsCmxywoXzQ\
    ";

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificate() -> CertificateDer<'static> {
    BASE64.decode(CERTIFICATE.as_bytes()).unwrap().into()
}

/// Serves one request over TLS and gives the first bytes that it could read, if any.
fn receiver() -> (Uri, std::thread::JoinHandle<Vec<u8>>) {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(BASE64.decode(KEY.as_bytes()).unwrap()));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
    let read = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        let mut came = vec![0; 4096];
        let Ok(read) = stream.read(&mut came) else { return Vec::new() };
        came.truncate(read);
        drop(stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"));
        came
    });
    (url, read)
}

async fn posted(poster: &Poster, to: &Uri) -> Result<StatusCode, PostError> {
    let secret = Secret::draw().unwrap();
    poster.post(to, &secret, "msg_1", 1, Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn a_receiver_whose_certificate_nobody_trusts_is_told_nothing() {
    let (url, read) = receiver();
    let refused = posted(&Poster::new(), &url).await.unwrap_err();
    assert!(matches!(&refused, PostError::Unreached(why) if why.contains("certificate")), "{refused:?}");
    assert_eq!(read.join().unwrap(), b"");
}

#[tokio::test]
async fn a_receiver_whose_certificate_is_trusted_is_told_over_tls() {
    let (url, read) = receiver();
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let status = posted(&Poster::with_tls(trusting), &url).await.unwrap();
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(read.join().unwrap().starts_with(b"POST /hook HTTP/1.1\r\n"));
}
