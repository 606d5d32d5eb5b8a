//! Tests of the real binary over real HTTP, all in one test binary (one link instead of many).
//!
//! `server` holds the harness: start a server in a temporary folder, talk to it, stop, kill and restart it. Every other module is
//! one concern. Bodies are compared as `insta` snapshots with what varies (versions, times, ids) replaced.

mod access;
mod admin;
mod advisor;
mod auth;
mod bad_input;
mod cache;
mod cli;
mod compression;
mod connections;
mod cors;
mod crash;
mod deploy;
mod differential;
mod docs;
mod errors;
mod faults;
mod hostile;
mod ingest;
mod jwt;
mod lifecycle;
mod limits;
mod load;
mod metrics;
mod monitoring;
mod naive;
mod openapi;
mod others;
mod otlp;
mod overload;
mod performance;
mod projects;
mod query;
mod real_data;
mod records;
mod rows;
mod scope;
mod semantics;
mod server;
mod streaming;
mod talk;
mod tenants;
mod tls;
mod tools;
