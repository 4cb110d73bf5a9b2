-- People and products to click through the shop with. Ids are the database's to give: rows are found by what is unique.
INSERT INTO customer (email, full_name, created_at) VALUES
  ('ada@example.com',    'Ada Brown',    '2025-01-10 09:00+00'),
  ('bela@example.com',   'Béla Kovács',  '2025-02-14 12:30+00'),
  ('chidi@example.com',  'Chidi Okafor', '2025-03-01 17:45+00'),
  ('dagmar@example.com', 'Dagmar Weiß',  '2025-03-02 08:15+00');
