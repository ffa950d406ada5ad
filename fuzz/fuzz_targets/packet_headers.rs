#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| xfrm_agent_fuzz::packet_headers(octets));
