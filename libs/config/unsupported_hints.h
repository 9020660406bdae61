// What to do, or what to use instead, where a parameter of a whole group is not supported: the
// hints of parameters_other.inc that more than one row has. Internal to libs/config.
#pragma once

#include <string_view>

namespace postfleet::config {

inline constexpr std::string_view kNoAccess =
    "access tables and the restrictions that ask the DNS are not there yet: decide by mynetworks "
    "and by the tables of recipients";
inline constexpr std::string_view kNoChecks =
    "mail is not looked into yet: filter in a mail system in front of this one";
inline constexpr std::string_view kNoClientSasl =
    "the client does not log in yet: let the relayhost know this system by its address";
inline constexpr std::string_view kNoClientTls =
    "the client has no TLS yet: give mail that must be encrypted to a relayhost on this machine "
    "that does TLS";
inline constexpr std::string_view kNoDane =
    "the client has no TLS and so no DANE yet: give mail that must be encrypted to a relayhost on "
    "this machine";
inline constexpr std::string_view kNoDebug =
    "remove it; follow one session or message by its queue id in the log, or with tcpdump";
inline constexpr std::string_view kNoFilters =
    "filters of contents are not there yet: filter in a mail system in front of this one, or with "
    "transport_maps through it";
inline constexpr std::string_view kNoInstances =
    "run a second instance with a configuration folder of its own: postfix -c DIR start";
inline constexpr std::string_view kNoLocal = "local delivery does not read it: leave it out";
inline constexpr std::string_view kNoMilters =
    "milters are not there yet: filter in a mail system in front of this one";
inline constexpr std::string_view kNoPolicy =
    "policy servers are not there yet: limit clients by smtpd_client_connection_rate_limit and its "
    "like";
inline constexpr std::string_view kNoPostscreen =
    "postscreen is not there yet: smtpd itself refuses who sends ahead or talks no SMTP "
    "(smtpd_forbid_unauth_pipelining, smtpd_forbidden_commands)";
inline constexpr std::string_view kNoProcesses =
    "services are no processes for one client each: there is nothing to start, recycle or wait for";
inline constexpr std::string_view kNoProxymap =
    "every service opens its tables itself, and proxy: in front of a table changes nothing";
inline constexpr std::string_view kNoQmqp = "QMQP is not there: submit by SMTP";
inline constexpr std::string_view kNoQueueFolders =
    "the queue is a log and no tree of folders: remove it";
inline constexpr std::string_view kNoRbl =
    "DNS block lists are not there yet: ask them in a mail system in front of this one";
inline constexpr std::string_view kNoRewriting =
    "such tables of addresses are not there yet: let a mail system in front of this one rewrite "
    "addresses, or smtp_generic_maps those that leave";
inline constexpr std::string_view kNoSasl =
    "AUTH is not offered yet: name clients by their addresses in mynetworks";
inline constexpr std::string_view kNoScache =
    "each agent keeps its connections itself: see smtp_connection_cache_time_limit and "
    "smtp_connection_reuse_time_limit";
inline constexpr std::string_view kNoSenderRouting =
    "routes by sender are not there yet: route by recipient with transport_maps";
inline constexpr std::string_view kNoServerTls =
    "the server has no TLS yet: let a TLS proxy in front of it take the connections "
    "(smtpd_upstream_proxy_protocol)";
inline constexpr std::string_view kNoServiceNames =
    "services find each other by postfleet_queue_address and its like, not by names in master.cf";
inline constexpr std::string_view kNoSubmission = "sendmail does not read it: leave it out";
inline constexpr std::string_view kNoTls =
    "there is no TLS yet: let proxies in front of the server and a relayhost behind it encrypt";
inline constexpr std::string_view kNoTlsproxy =
    "tlsproxy is not there, nor postscreen, which would need it: remove it";
inline constexpr std::string_view kNoVerify =
    "addresses are not verified by probes: list the recipients of other systems in "
    "relay_recipient_maps";

}  // namespace postfleet::config
