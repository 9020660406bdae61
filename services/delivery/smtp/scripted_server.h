// An SMTP or LMTP server for tests: on loopback, on a port that the system chooses, or on a unix
// socket; on the test's own loop. It says what it was told to. A session that began with LHLO gets
// a reply behind the dot for each recipient that was accepted.
#pragma once

#include <array>
#include <asio/generic/stream_protocol.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/write.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace postfleet::delivery::smtp {

struct Behaviour {
  std::string greeting = "220 mx.test ESMTP";
  std::string ehlo = "250-mx.test\r\n250-8BITMIME\r\n250 PIPELINING";
  // By whole command ("RCPT TO:<a@b.test>"), by verb ("MAIL"), or "." for the end of DATA; in LMTP,
  // ". RCPT TO:<a@b.test>" for that recipient's part of it. "close"
  // hangs up, "reset" hangs up with RST, "silence" says nothing; 421 hangs up behind it. What is
  // not here is answered as a good server would.
  std::map<std::string, std::string> replies;
  // Goes before `replies` when it gives something.
  std::function<std::string(const std::string&)> replies_at;
  // After this verb nothing is read any more.
  std::string stop_reading_at;
  // Called at each command, before the reply.
  std::function<void(const std::string&)> on_command;
};

class ScriptedServer {
 public:
  explicit ScriptedServer(asio::io_context& io,
                          asio::ip::address address = asio::ip::address_v4::loopback(),
                          uint16_t port = 0)
      : tcp_(std::in_place, io, asio::ip::tcp::endpoint(address, port)) {
    Accept(*tcp_);
  }
  // The path must not be there yet.
  ScriptedServer(asio::io_context& io, const std::string& unix_path)
      : unix_(std::in_place, io, asio::local::stream_protocol::endpoint(unix_path)) {
    Accept(*unix_);
  }

  uint16_t port() const { return tcp_->local_endpoint().port(); }
  // The last one serves all further connections.
  std::vector<Behaviour> behaviours{Behaviour{}};
  int connections = 0;
  int open_connections = 0;
  std::vector<std::string> commands;
  std::vector<std::string> bodies;  // with CRLF, dots still stuffed

  void SayToAll(const std::string& bytes) {
    for (auto& weak : clients_) {
      std::error_code gone;
      if (const auto client = weak.lock()) asio::write(client->socket, asio::buffer(bytes), gone);
    }
  }
  // Hangs up on everybody.
  void HangUp() {
    for (auto& weak : clients_) {
      if (const auto client = weak.lock()) client->Close();
    }
  }

 private:
  struct Client : std::enable_shared_from_this<Client> {
    Client(ScriptedServer& server, asio::generic::stream_protocol::socket socket,
           Behaviour behaviour)
        : server(server), socket(std::move(socket)), behaviour(std::move(behaviour)) {
      ++server.open_connections;
      std::error_code not_tcp;
      this->socket.set_option(asio::ip::tcp::no_delay(true), not_tcp);
    }
    ~Client() { --server.open_connections; }

    void Close() {
      std::error_code ignored;
      socket.close(ignored);
    }
    void Say(const std::string& reply) {
      if (reply == "silence") return;
      if (reply == "reset") socket.set_option(asio::socket_base::linger(true, 0));
      if (reply == "reset" || reply == "close") return Close();
      std::error_code ignored;
      asio::write(socket, asio::buffer(reply + "\r\n"), ignored);
      if (reply.starts_with("421")) Close();
    }
    void Read() {
      socket.async_read_some(asio::buffer(buffer), [self = shared_from_this()](
                                                       const std::error_code& error, size_t bytes) {
        if (error) return self->Close();
        self->input.append(self->buffer.data(), bytes);
        self->Work();
        if (self->stopped) return self->server.stopped_.push_back(self);
        if (self->socket.is_open()) self->Read();
      });
    }
    void Work() {
      size_t end;
      while (socket.is_open() && (end = input.find("\r\n")) != std::string::npos) {
        const std::string line = input.substr(0, end);
        input.erase(0, end + 2);
        in_data ? TakeContent(line) : TakeCommand(line);
      }
    }
    void TakeContent(const std::string& line) {
      if (line != ".") {
        body += line + "\r\n";
        return;
      }
      in_data = false;
      server.bodies.push_back(std::exchange(body, {}));
      if (!lmtp) return Say(ReplyTo(".", "250 2.0.0 Ok: queued as TEST"));
      for (const std::string& recipient : std::exchange(accepted, {})) {
        Say(ReplyTo(". " + recipient, ReplyTo(".", "250 2.0.0 Ok: queued as TEST")));
        if (!socket.is_open()) return;
      }
    }
    std::string ReplyTo(const std::string& what, const std::string& otherwise) {
      const auto found = behaviour.replies.find(what);
      return found == behaviour.replies.end() ? otherwise : found->second;
    }
    void TakeCommand(const std::string& line) {
      server.commands.push_back(line);
      if (behaviour.on_command) behaviour.on_command(line);
      const std::string verb = line.substr(0, 4);
      auto found = behaviour.replies.find(line);
      if (found == behaviour.replies.end()) found = behaviour.replies.find(verb);
      std::string reply = "250 2.1.0 Ok";
      if (verb == "EHLO" || verb == "LHLO") reply = behaviour.ehlo;
      if (verb == "LHLO") lmtp = true;
      if (verb == "DATA") reply = "354 go on";
      if (verb == "QUIT") reply = "close";
      if (found != behaviour.replies.end()) reply = found->second;
      if (behaviour.replies_at) {
        if (const std::string special = behaviour.replies_at(line); !special.empty())
          reply = special;
      }
      if (verb == "MAIL") accepted.clear();
      if (verb == "RCPT" && reply.starts_with('2')) accepted.push_back(line);
      stopped = verb == behaviour.stop_reading_at;
      in_data = verb == "DATA" && reply.substr(0, 3) == "354";
      Say(reply);
    }

    ScriptedServer& server;
    asio::generic::stream_protocol::socket socket;
    Behaviour behaviour;
    std::string input;
    std::string body;
    bool in_data = false;
    bool lmtp = false;
    std::vector<std::string> accepted;  // commands
    bool stopped = false;
    std::array<char, 4096> buffer;
  };

  template <typename Acceptor>
  void Accept(Acceptor& acceptor) {
    acceptor.async_accept([this, &acceptor](const std::error_code& error, auto socket) {
      if (error) return;
      const size_t which = std::min(static_cast<size_t>(connections++), behaviours.size() - 1);
      auto client = std::make_shared<Client>(
          *this, asio::generic::stream_protocol::socket(std::move(socket)), behaviours[which]);
      clients_.push_back(client);
      client->Say(client->behaviour.greeting);
      if (client->socket.is_open()) client->Read();
      Accept(acceptor);
    });
  }

  std::optional<asio::ip::tcp::acceptor> tcp_;
  std::optional<asio::local::stream_protocol::acceptor> unix_;
  std::vector<std::weak_ptr<Client>> clients_;
  std::vector<std::shared_ptr<Client>> stopped_;
};

}  // namespace postfleet::delivery::smtp
