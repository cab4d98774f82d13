//! Tests of what needs no connection; admission itself is tested through real endpoints.

use super::*;

#[test]
fn only_the_exact_form_of_a_key_is_read() {
    let site = SiteKey::from_seed(&[3; 32]).site_id();
    let mut spki = SPKI_PREFIX.to_vec();
    spki.extend_from_slice(site.as_bytes());
    assert_eq!(site_of_spki(&spki), Some(site));

    let mut longer = spki.clone();
    longer.push(0);
    assert_eq!(site_of_spki(&longer), None);
    assert_eq!(site_of_spki(&spki[..43]), None);
    for at in 0..SPKI_PREFIX.len() {
        let mut other = spki.clone();
        other[at] ^= 1;
        assert_eq!(site_of_spki(&other), None, "byte {at}");
    }
}

#[test]
fn protocol_names_read_back() {
    for alpn in Alpn::ALL {
        assert_eq!(Alpn::from_bytes(alpn.as_bytes()), Some(alpn));
    }
    assert_eq!(Alpn::from_bytes(b"pktb/2"), None);
    assert_eq!(Alpn::from_bytes(b""), None);
}
