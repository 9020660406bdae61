# Sends what is on standard input by Ruby's net/smtp: HOST PORT SENDER RECIPIENTS TIMES.
# Prints what it was told; ends with 1 when a message was not taken.
require 'net/smtp'

host, port, sender, recipients, times = ARGV
$stdin.binmode
content = $stdin.read
status = 0
smtp = Net::SMTP.new(host, port.to_i)
smtp.disable_starttls
smtp.start(helo: 'client.example') do
  times.to_i.times do
    reply = smtp.send_message(content, sender, *recipients.split(','))
    puts reply.string
  rescue Net::ProtocolError => e
    puts "#{e.class}: #{e.message}"
    status = 1
    smtp.rset
  end
end
exit status
