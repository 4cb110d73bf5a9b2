INSERT INTO product (sku, name, price, currency, on_sale, created_at) VALUES
  ('MUG-BLUE',  'Blue mug',          12.50, 'EUR', true,  '2025-01-02 10:00+00'),
  ('MUG-RED',   'Red mug',           12.50, 'EUR', true,  '2025-01-02 10:05+00'),
  ('POT-2L',    'Teapot, 2 litres',  39.00, 'EUR', true,  '2025-01-20 10:00+00'),
  ('TEA-GREEN', 'Green tea, 100 g',   7.80, 'EUR', true,  '2025-02-11 10:00+00'),
  ('TEA-2024',  'Tea of last year',   3.90, 'EUR', false, '2024-02-11 10:00+00');
