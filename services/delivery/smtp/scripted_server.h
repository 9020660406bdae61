// An SMTP server for tests: on loopback, on a port that the system chooses, on the test's own loop;
// it says what it was told to.
#pragma once

#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace postfleet::delivery::smtp {

struct Behaviour {
  std::string greeting = "220 mx.test ESMTP";
  std::string ehlo = "250-mx.test\r\n250-8BITMIME\r\n250 PIPELINING";
  // By whole command ("RCPT TO:<a@b.test>"), by verb ("MAIL"), or "." for the end of DATA. "close"
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
      : acceptor_(io, {address, port}) {
    Accept();
  }

  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  // The last one serves all further connections.
  std::vector<Behaviour> behaviours{Behaviour{}};
  int connections = 0;
  int open_connections = 0;
  std::vector<std::string> commands;
  std::vector<std::string> bodies;  // with CRLF, dots still stuffed

  // Hangs up on everybody.
  void HangUp() {
    for (auto& weak : clients_) {
      if (const auto client = weak.lock()) client->Close();
    }
  }

 private:
  struct Client : std::enable_shared_from_this<Client> {
    Client(ScriptedServer& server, asio::ip::tcp::socket socket, Behaviour behaviour)
        : server(server), socket(std::move(socket)), behaviour(std::move(behaviour)) {
      ++server.open_connections;
      this->socket.set_option(asio::ip::tcp::no_delay(true));
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
      const auto found = behaviour.replies.find(".");
      Say(found == behaviour.replies.end() ? "250 2.0.0 Ok: queued as TEST" : found->second);
    }
    void TakeCommand(const std::string& line) {
      server.commands.push_back(line);
      if (behaviour.on_command) behaviour.on_command(line);
      const std::string verb = line.substr(0, 4);
      auto found = behaviour.replies.find(line);
      if (found == behaviour.replies.end()) found = behaviour.replies.find(verb);
      std::string reply = "250 2.1.0 Ok";
      if (verb == "EHLO") reply = behaviour.ehlo;
      if (verb == "DATA") reply = "354 go on";
      if (verb == "QUIT") reply = "close";
      if (found != behaviour.replies.end()) reply = found->second;
      if (behaviour.replies_at) {
        if (const std::string special = behaviour.replies_at(line); !special.empty())
          reply = special;
      }
      stopped = verb == behaviour.stop_reading_at;
      in_data = verb == "DATA" && reply.substr(0, 3) == "354";
      Say(reply);
    }

    ScriptedServer& server;
    asio::ip::tcp::socket socket;
    Behaviour behaviour;
    std::string input;
    std::string body;
    bool in_data = false;
    bool stopped = false;
    std::array<char, 4096> buffer;
  };

  void Accept() {
    acceptor_.async_accept([this](const std::error_code& error, asio::ip::tcp::socket socket) {
      if (error) return;
      const size_t which = std::min(static_cast<size_t>(connections++), behaviours.size() - 1);
      auto client = std::make_shared<Client>(*this, std::move(socket), behaviours[which]);
      clients_.push_back(client);
      client->Say(client->behaviour.greeting);
      if (client->socket.is_open()) client->Read();
      Accept();
    });
  }

  asio::ip::tcp::acceptor acceptor_;
  std::vector<std::weak_ptr<Client>> clients_;
  std::vector<std::shared_ptr<Client>> stopped_;
};

}  // namespace postfleet::delivery::smtp
