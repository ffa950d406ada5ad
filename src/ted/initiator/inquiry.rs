//! Probing because a person asked: every answer counts, nothing is negotiated.

use super::RequestId;
use super::effects::Answer;
use crate::net::Flow;
use crate::ted::proxies::{Irreconcilable, Proxy, merge};
use crate::ted::wire::{Cookie, Response};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long answers are collected.
pub(super) const DURATION: Duration = Duration::from_secs(2);
pub(super) const MAX_INQUIRIES: usize = 16;
const MAX_ANSWERS: usize = 16;

#[derive(Debug)]
pub(super) struct Inquiry {
    pub(super) request: RequestId,
    pub(super) cookie: Cookie,
    started: Instant,
    flow: Flow,
    proxy: Option<Proxy>,
    pub(super) answers: Vec<Answer>,
}

impl Inquiry {
    pub(super) fn new(
        now: Instant,
        request: RequestId,
        cookie: Cookie,
        flow: Flow,
        proxy: Option<Proxy>,
    ) -> Self {
        Self {
            request,
            cookie,
            started: now,
            flow,
            proxy,
            answers: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, now: Instant, responder: IpAddr, response: Response) {
        let repeated = self.answers.iter().any(|a| a.responder == responder);
        if repeated || self.answers.len() >= MAX_ANSWERS {
            return;
        }
        let merged = match &self.proxy {
            Some(ours) => merge(ours, &response.proxies, &self.flow),
            None => Err(Irreconcilable::Address),
        };
        self.answers.push(Answer {
            responder,
            offered: response.proxies,
            merged,
            after: now - self.started,
        });
    }
}
